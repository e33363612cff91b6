"""Ciphers are exact both ways over Unicode; what is not in the code is left as it is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from threatspec.attacks.mutations import CIPHERS, STYLES, cipher, framed
from threatspec.attacks.mutations.ciphers import in_capitals

ANY = st.text(st.characters(), max_size=60)  # lone surrogates too: all that Python calls text
EXACT = [(name, False) for name in ("ascii", "atbash", "caesar")] + [("atbash", True)]


@pytest.mark.parametrize(("name", "compat"), EXACT)
@given(text=ANY)
@example(text="")
@example(text="\n")
@example(text=" a\r\n\u2028 ")
@example(text="Äß\u0082\u009aYZ\U0010ffff")
def test_what_is_encoded_is_decoded_exactly(name: str, compat: bool, text: str) -> None:
    code = cipher(name, compat=compat)
    assert code.decode(code.encode(text)) == text


@given(text=ANY | st.text(" .-,aE\né", max_size=20))
@example(text="")
@example(text=" ")
@example(text="a  b \n - . é ß")
def test_morse_keeps_everything_but_the_case_of_a_to_z(text: str) -> None:
    code = CIPHERS["morse"]
    assert code.decode(code.encode(text)) == in_capitals(text)


@given(text=ANY)
def test_capitals_of_ascii_alone_are_changed(text: str) -> None:
    assert len(in_capitals(text)) == len(text)
    changed = {old for old, new in zip(text, in_capitals(text), strict=True) if old != new}
    assert changed <= set("abcdefghijklmnopqrstuvwxyz")


@pytest.mark.parametrize(
    ("name", "plain", "code"),
    [
        ("caesar", "Xyz, Abc 9 é", "Abc, Def 9 é"),
        ("atbash", "Abc, Xyz 9 é", "Zyx, Cba 9 é"),
        ("ascii", "Hi é\n\nx", "72 105 32 233\n\n120"),
        ("morse", "sos, a b", "... --- ... --..--  .-  -... "),
        ("morse", "é\ne", "é \n. "),
    ],
)
def test_golden_values(name: str, plain: str, code: str) -> None:
    assert CIPHERS[name].encode(plain) == code


def test_atbash_of_cipherchat_turns_capitals_into_control_characters() -> None:
    right, known = cipher("atbash"), cipher("atbash", compat=True)
    assert known.encode("Yes") == "\u0082vh"
    assert right.encode("Yes") == "Bvh"
    assert known.encode("yes, é 1") == right.encode("yes, é 1")
    assert known.decode("\u0082vh") == "Yes"


@pytest.mark.parametrize("name", ["ascii", "morse"])
@pytest.mark.parametrize("reply", ["I will not do that.", "Sure: 72 105", "a b c", ""])
def test_a_reply_in_plain_words_is_left_as_it_is(name: str, reply: str) -> None:
    assert CIPHERS[name].decode(reply) == reply


def test_a_reply_that_is_partly_in_the_code_is_decoded_there() -> None:
    assert CIPHERS["ascii"].decode("Here it is:\n72  105 \n99999999 1") == (
        "Here it is:\nHi\n99999999 1"
    )
    assert CIPHERS["ascii"].decode("1114112") == "1114112"
    assert CIPHERS["morse"].decode("Here:\n... --- ...\n.- -...  -.-.") == "Here:\nSOS\nAB C"


def test_every_cipher_is_a_style_and_has_a_frame() -> None:
    assert {name for name, style in STYLES.items() if style.how == "cipher"} == set(CIPHERS)
    for name, code in CIPHERS.items():
        text = framed(name, code.encode("a {brace}"))
        assert text.endswith(code.encode("a {brace}"))
        assert "same code" in text
    assert [name for name, code in CIPHERS.items() if code.tells] == ["ascii", "morse"]


def test_the_twenty_styles_by_group() -> None:
    groups = [style.group for style in STYLES.values()]
    counts = {group: groups.count(group) for group in dict.fromkeys(groups)}
    assert counts == {"writing": 6, "persuasion": 5, "encoding": 4, "translation": 5}
    assert all(style.instruction for style in STYLES.values() if style.how == "rewriter")
    languages = [style.language for style in STYLES.values() if style.group == "translation"]
    assert all(languages)
    assert len(set(languages)) == 5
