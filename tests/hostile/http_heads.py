"""Odd HTTP heads and the statuses they must get: ambiguous, wrong and too large ones, and some that only look so."""

from dataclasses import dataclass

HOST = b"Host: x\r\n"
GET, POST = b"GET /health HTTP/1.1\r\n", b"POST /health HTTP/1.1\r\n"
END = b"Connection: close\r\n\r\n"
FINE = GET + HOST + END


@dataclass(frozen=True, slots=True)
class Case:
    sent: bytes
    statuses: tuple[int, ...]
    """Of all answers, in order, after which the connection ends."""


def _cases() -> dict[str, Case]:
    cases: dict[str, Case] = {}

    def add(group: str, statuses: tuple[int, ...], *sent: bytes) -> None:
        for data in sent:
            name = f"{group} {len(cases)}: {data[:60]!r}"
            cases[name] = Case(data, statuses)

    targets = [
        b"/",
        b"*",
        b"/%",
        b"/%00",
        b"/%ff%fe",
        b"/%zz",
        b"/" + b"a" * 16_000,
        b"/..//../",
        b"//",
        b"///x?y?z",
        b"/;:@",
    ]
    add(
        "unknown target",
        (404,),
        *(b"GET %s HTTP/1.1\r\n" % target + HOST + END for target in targets if target != b"*"),
    )
    add("server-wide target", (404,), b"OPTIONS * HTTP/1.1\r\n" + HOST + END)
    add(
        "absolute target",
        (200,),
        *(b"GET %s/health HTTP/1.1\r\n" % at + HOST + END for at in (b"http://x", b"HTTPS://y:1")),
    )
    bad = [
        b"",
        b"x",
        b"*",
        b"?",
        b"#",
        b"health",
        b"x:1",
        b"ftp://x/",
        b"http://",
        b"http:///",
        b"\\",
        b"/\xff",
        b"/ x",
        b"/\t",
    ]
    add("bad target", (400,), *(b"GET %s HTTP/1.1\r\n" % target + HOST + END for target in bad))
    add("long target", (414,), *(b"GET /" + b"a" * size for size in (17_000, 70_000, 2**20, 2**24)))
    add("long query", (414,), b"GET /?" + b"a=b&" * 10_000 + b" HTTP/1.1\r\n" + HOST + END)

    for version in (
        b"",
        b"HTTP",
        b"HTTP/",
        b"HTTP/1",
        b"HTTP/1.",
        b"HTTP/11",
        b"HTTP/1.1.1",
        b"http/1.1",
        b"RTSP/1.0",
        b"HTTP/-1.1",
    ):
        add("bad version", (400,), b"GET /health " + version + b"\r\n" + HOST + END)
    for version in (b"0.9", b"1.2", b"2.0", b"3.0", b"9.9"):
        add("other version", (505,), b"GET /health HTTP/" + version + b"\r\n" + HOST + END)
    add("HTTP/0.9", (400,), b"GET /\r\n", b"GET /health\r\n\r\n", b"GET\r\n\r\n", b"\r\n" * 100)
    add("other protocols", (505,), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    add(
        "other protocols",
        (400,),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-x\r\n",
        b"\x00" * 100,
        b"\xff\xfe",
    )
    add(
        "other protocols",
        (400,),
        b"*1\r\n$4\r\nPING\r\n",
        b"EHLO x\r\n",
        b"GIOP\x01\x00",
        b"{}\n",
        b"PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n",
    )
    add(
        "refused method",
        (405,),
        *(method + b" /health HTTP/1.1\r\n" + HOST + END for method in (b"TRACE", b"POST", b"PUT", b"PROPFIND")),
    )
    add("refused method", (405,), b"CONNECT x:1 HTTP/1.1\r\n" + HOST + END)
    for method in (b"get", b"FOO", b"G ET", b"", b"GET\x00", b"POST-", b"G" * 20_000):
        add("unknown method", (400,), method + b" /health HTTP/1.1\r\n" + HOST + END)

    add("no host", (400,), GET + END, GET + b"Hos: x\r\n" + END)
    add("no host in 1.0", (200,), b"GET /health HTTP/1.0\r\n\r\n")
    add("two hosts", (400,), GET + HOST + HOST + END, GET + HOST + b"HOST: y\r\n" + END, GET + b"Host: x, y\r\n" + END)
    for host in (
        b"a b",
        b"a/b",
        b"a@b",
        b"a?b",
        b"[::1",
        b"x:y",
        b"x:123456",
        b"\xe9",
        b"<x>",
        b'"x"',
        b"x:1:2",
        b"http://x",
    ):
        add("bad host", (400,), GET + b"Host: " + host + b"\r\n" + END)
    for host in (b"", b"x:1", b"[::1]:80", b"a_b.c", b"%41", b"1.2.3.4"):
        add("good host", (200,), GET + b"Host: " + host + b"\r\n" + END)

    for code in (*range(0x20), 0x7F):
        byte = bytes([code])
        if byte not in b"\t\r\n":
            add("control in value", (400,), GET + HOST + b"A: b" + byte + b"c\r\n" + END)
        add("control in name", (400,), GET + HOST + b"A" + byte + b"b: c\r\n" + END)
        add("control in target", (400,), b"GET /" + byte + b"x HTTP/1.1\r\n" + HOST + END)
    for line in (
        b" A: b",
        b"\tA: b",
        b"A : b",
        b"A\t: b",
        b": b",
        b"A",
        b"A b",
        b"\xe9: b",
        b"(A): b",
        b"A: b\r\n c",
        b"A: b\r\n\tc",
        b"A\r\n: b",
    ):
        add("bad line", (400,), GET + HOST + line + b"\r\n" + END)
    add("bad first line", (400,), GET + b" " + HOST + END)
    for line in (
        b"A:",
        b"A:  b \t",
        b"A: \xff\xfe",
        b"A:b",
        b"a!#$%&'*+-.^_`|~1: b",
        b"A: " + b"x" * 32_000,
        b"Upgrade: h2c",
        b"Expect: ",
    ):
        add("good line", (417,) if line == b"Expect: " else (200,), GET + HOST + line + b"\r\n" + END)
    add(
        "bare line feeds",
        (400,),
        b"GET /health HTTP/1.1\nHost: x\n\n",
        GET + b"Host: x\n\n",
        GET + b"Host: x\nA: b\r\n" + END,
    )
    add(
        "bare carriage returns",
        (400,),
        b"GET /health HTTP/1.1\rHost: x\r\r\n\r\n",
        GET + HOST + b"A: b\rB: c\r\n" + END,
    )

    add("large head", (431,), *(GET + HOST + b"A: " + b"x" * size for size in (70_000, 2**20, 2**24)))
    add("large head", (431,), GET + HOST + b"A: " + b"x" * 40_000 + b"\r\n" + END, GET + HOST + b"x" * 2**20)
    add("many headers", (431,), *(GET + HOST + line * 30_000 for line in (b"A: b\r\n", b"A:\r\n", b"Cookie: c\r\n")))
    add("many headers", (431,), GET + HOST + b"A: b\r\n" * 127 + END, GET + HOST + b"A: b\r\n" * 200 + END)
    add("as many headers as may be", (200,), GET + HOST + b"A: b\r\n" * 126 + END)

    for length in (
        b"-1",
        b"+1",
        b"0x1",
        b"1,1",
        b"1 1",
        b"",
        b"a",
        b"1.0",
        b"1e1",
        b"9" * 19,
        b"9" * 400,
        b"\xd9\xa1",
        b"1;",
    ):
        add("bad length", (400,), POST + HOST + b"Content-Length: " + length + b"\r\n" + END)
    for first, second in ((b"1", b"2"), (b"1", b"1"), (b"0", b"")):
        twice = b"Content-Length: %s\r\nContent-Length: %s\r\n" % (first, second)
        add("two lengths", (400,), POST + HOST + twice + END + b"ab" + FINE)
    for coding in (
        b"gzip, chunked",
        b"deflate",
        b"identity",
        b"chunked, identity",
        b"xchunked",
        b"chunked;q=1",
        b"\x0bchunked",
        b"",
        b'"chunked"',
    ):
        refused = (501,) if coding == b"gzip, chunked" else (400,)
        add(
            "other coding", refused, POST + HOST + b"Transfer-Encoding: " + coding + b"\r\n" + END + b"0\r\n\r\n" + FINE
        )
    for both in (
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    ):
        add("length and chunks", (400,), POST + HOST + both + END + b"0\r\n\r\n" + FINE)
    add("chunks in 1.0", (400,), b"POST /health HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")

    answered = POST.replace(b"/health", b"/v1/completions") + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    for chunk in (
        b"x\r\n",
        b"-1\r\n",
        b"0x1\r\n",
        b"\r\n",
        b"1\na",
        b" 1\r\n",
        b"1 \x00\r\n",
        b"1" * 17 + b"\r\n",
        b"1;" + b"x" * 300,
        b"1\r\nab",
    ):
        add("bad chunk", (400,), answered + chunk)
    add("tiny chunks", (413,), answered + b"1\r\nx\r\n" * 2**17)
    add("large trailers", (431,), answered + b"0\r\n" + b"A: b\r\n" * 2**17, answered + b"0\r\nA: " + b"x" * 2**20)
    add(
        "bad trailers", (400,), answered + b"0\r\nA\r\n\r\n", answered + b"0\r\nA: b\r\n c\r\n\r\n", answered + b"0\n\n"
    )

    add("pipelined", (200,) * 40 + (400,), GET.replace(b"\r\n", b"\r\n" + HOST + b"\r\n") * 40 + b"GET\r\n" + FINE)
    add("pipelined with bodies", (405, 405, 200), (POST + HOST + b"Content-Length: 2\r\n\r\nab") * 2 + FINE)
    add("an empty line between", (405, 200), POST + HOST + b"Content-Length: 2\r\n\r\nab\r\n" + FINE)
    add(
        "upgrade",
        (405, 200),
        POST + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 50\r\n\r\n" + FINE[:50].ljust(50) + FINE,
    )
    add("nothing after the last", (200,), FINE + FINE)
    return cases


CASES = _cases()
