"""`python -m threatspec`."""

from threatspec.cli import main

if __name__ == "__main__":
    main()
