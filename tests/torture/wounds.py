"""What is done to a good document to make it a hostile one: cut off, doubled, moved, spliced with what breaks parsers. Pure."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

BREAKERS = (
    *(
        b"\x00",
        b"\xff\xfe",
        b"\xed\xa0\x80",
        b"\r\n\r\n",
        b"\n",
        b"\n---\n",
        b": ",
        b"- ",
        b"'",
        b'"',
        b"\\",
        b"%",
        b"#",
    ),
    *(
        b"${TEST_TOKEN}",
        b"${",
        b"$$",
        b"${TEST_TOKEN:-x}",
        b"{sku}",
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"&a [*a]",
        b"*a",
        b"<<: *a",
    ),
    *(b"!!python/object/apply:os.system ['touch pwned']", b"!!binary x", b"!!js/function x", b"%TAG ! x"),
    *(
        b"../../../../etc/passwd",
        b"/dev/zero",
        b"file:///etc/passwd",
        b"\xe2\x80\xae",
        b"\x1b]0;x\x07",
        b"<script>alert(1)</script>",
    ),
    *(
        b"-1",
        b"0",
        b"1e400",
        b"NaN",
        b"Infinity",
        b"-0.0",
        b"9" * 400,
        b"1e-400",
        b"0x1f",
        b"1_000",
        b"-7\r\n",
        b"\xb2",
        b"9" * 5000,
        b"true",
        b"null",
        b"~",
        b".inf",
    ),
    *(
        b"[" * 3000,
        b'{"a":' * 3000,
        b"(" * 500,
        b"a" * 20_000,
        b"0s",
        b"-5s",
        b"99999999d",
        b"1000000/s",
        b"1e9/s",
        b"100%",
        b"101%",
    ),
    *(
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"ffffffffffffffff\r\n",
    ),
)

PLACES = st.floats(0, 1, exclude_max=True, allow_nan=False)
WOUNDS = st.one_of(
    st.tuples(st.just("cut"), PLACES, PLACES),
    st.tuples(st.just("drop"), PLACES, PLACES),
    st.tuples(st.just("double"), PLACES, PLACES),
    st.tuples(st.just("move"), PLACES, PLACES),
    st.tuples(st.just("splice"), PLACES, st.sampled_from(BREAKERS)),
    st.tuples(st.just("instead"), PLACES, st.sampled_from(BREAKERS)),
    st.tuples(st.just("byte"), PLACES, st.integers(0, 255)),
)


def wounded(document: bytes, wounds: list[tuple[str, float, Any]]) -> bytes:
    """The document after its wounds."""
    for kind, place, more in wounds:
        at = int(place * (len(document) + 1))
        if kind == "cut":
            document = document[:at]
        elif kind == "byte":
            document = document[:at] + bytes([more]) + document[at + 1 :]
        elif kind == "splice":
            document = document[:at] + more + document[at:]
        elif kind == "instead":  # the word that stands there
            end = next(
                (i for i in range(at, len(document)) if document[i : i + 1] in b" \n,}\"'"), len(document)
            )
            document = document[:at] + more + document[end:]
        else:
            piece = document[at : at + 1 + int(more * more * 300)]
            rest = document[:at] + document[at + len(piece) :]
            target = int(more * len(rest))
            document = {
                "drop": rest,
                "double": document[:at] + piece + document[at:],
                "move": rest[:target] + piece + rest[target:],
            }[kind]
    return document
