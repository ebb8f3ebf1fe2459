"""Request templates: what goes onto the wire."""

import pytest

from resilience.load.model import HttpRequest, request_id
from resilience.load.template import TemplateError, compile_request, target_of


def render(request, i=0, correlate="X-Request-Id"):
    """Request number i of run `r`, load `quotes`."""
    return compile_request(request, correlate=correlate, run_id="r", stream="quotes")(i)


def test_template_renders_a_plain_request():
    """A GET has its line, host, id and no body."""
    assert render(HttpRequest(url="http://h:81/a?b=c"), 7) == (
        b"GET /a?b=c HTTP/1.1\r\nHost: h:81\r\nUser-Agent: chaos-spike\r\nAccept: */*\r\n"
        b"X-Request-Id: r-quotes-7\r\n\r\n"
    )


def test_template_fills_rows_by_the_number_of_the_arrival():
    """Row i mod rows fills arrival i, percent-encoded in the URL, plain in a header."""
    request = HttpRequest(
        url="http://h/q/{sku}?n={i}", headers=(("X-Sku", "{sku}"),), data=({"sku": "a b/c"}, {"sku": "d%"})
    )
    first, second, third = (render(request, i) for i in range(3))
    assert b"GET /q/a%20b%2Fc?n=0 " in first
    assert b"X-Sku: a b/c\r\n" in first
    assert b"GET /q/d%25?n=1 " in second
    assert b"X-Sku: d%\r\n" in second
    assert b"GET /q/a%20b%2Fc?n=2 " in third


def test_template_body_with_a_number_has_the_right_length():
    """The length of a body follows the digits of {i}."""
    request = HttpRequest(url="http://h/", method="POST", body=b'{"user": "u{i}", "n": {i}}')
    for i in (1, 22, 333):
        head, body = render(request, i).split(b"\r\n\r\n")
        assert body == b'{"user": "u%d", "n": %d}' % (i, i)
        assert f"Content-Length: {len(body)}".encode() in head


def test_template_escapes_data_in_a_json_body():
    """A quote in a data row cannot end a JSON string."""
    request = HttpRequest(
        url="http://h/",
        method="POST",
        headers=(("Content-Type", "application/json"),),
        body=b'{"name": "{name}"}',
        data=({"name": 'a"b'},),
    )
    assert render(request).endswith(b'{"name": "a\\"b"}')


def test_template_post_without_body_says_so():
    """A POST without a body announces length 0, or servers wait for one."""
    assert b"Content-Length: 0\r\n" in render(HttpRequest(url="http://h/", method="POST"))


def test_template_keeps_the_bytes_of_a_binary_body():
    """A body is bytes, whatever they are, percent signs included."""
    body = bytes(range(256)) + b"100%"
    assert render(HttpRequest(url="http://h/", method="PUT", body=body)).endswith(b"\r\n\r\n" + body)


def test_template_own_headers_replace_the_defaults():
    """A header of the request wins over ours, in any case of its letters."""
    sent = render(HttpRequest(url="http://h/", headers=(("host", "other"), ("accept", "a/b"))))
    assert b"host: other\r\n" in sent
    assert b"Host: h" not in sent
    assert b"*/*" not in sent


def test_template_traceparent_has_the_prescribed_form():
    """As a W3C trace context the id is 00-<32 hex>-<16 hex>-01, different for every request."""
    request = HttpRequest(url="http://h/{i}")
    for i in (0, 255):
        wanted = request_id("r", "quotes", i, "traceparent")
        assert f"traceparent: {wanted}\r\n".encode() in render(request, i, "traceparent")
        version, trace, span, flags = wanted.split("-")
        assert (version, len(trace), len(span), flags) == ("00", 32, 16, "01")
        assert trace.endswith(f"{i:016x}")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (HttpRequest(url="http://h/{sku}"), "sku"),
        (HttpRequest(url="ftp://h/"), "http"),
        (HttpRequest(url="http://{host}/"), "host"),
        (HttpRequest(url="http://h:port/"), "not a URL"),
        (HttpRequest(url="http://u:p@h/"), "Authorization"),
        (HttpRequest(url="http://h/", method="GE T"), "method"),
        (HttpRequest(url="http://h/", headers=(("A", "b\r\nC: d"),)), "may not hold"),
        (HttpRequest(url="http://h/", headers=(("A", "{x}"),), data=({"x": "1\n2"},)), "may not hold"),
        (HttpRequest(url="http://h/", headers=(("A", "\N{SNOWMAN}"),)), "latin-1"),
        (HttpRequest(url="http://h/", headers=(("Content-Length", "3"),)), "length"),
    ],
)
def test_template_refuses_what_cannot_be_sent(request_, message):
    """An unknown field, a foreign scheme, header injection: an error that says which part."""
    with pytest.raises(TemplateError, match=message):
        render(request_)


def test_template_target_of_an_address():
    """Port and TLS follow the scheme; IPv6 addresses lose their brackets."""
    assert (target_of("https://h/").port, target_of("https://h/").tls) == (443, True)
    assert target_of("http://[::1]:80/").host == "::1"
