# http.client in the clear, urllib over TLS, and asyncio's streams. Arguments: HOST PORT FILE CERTIFICATE
import asyncio
import hashlib
import http.client
import ssl
import sys
import urllib.request

host, port, file, certificate = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
context = ssl.create_default_context(cafile=certificate)
with open(file, "rb") as opened:
    body = opened.read()


def show(path, content):
    print(hashlib.sha256(content).hexdigest() + "\n" if path == "/large" else content.decode(), end="")


def plainly():
    connection = http.client.HTTPConnection(host, port)
    for method, path, data in [("GET", "/hello", None), ("POST", "/post", body), ("GET", "/large", None)]:
        connection.request(method, path, data)
        show(path, connection.getresponse().read())


def securely():
    url = f"https://{host}:{port + 2}"
    for path, data in [("/hello", None), ("/post", body), ("/large", None)]:
        with urllib.request.urlopen(url + path, data, context=context) as response:
            show(path, response.read())


async def ask(number):
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST /task/{number} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer.decode().split("\r\n\r\n")[1]


async def together():
    answers = await asyncio.gather(*(ask(number) for number in range(20)))
    print(len(answers), "answers, different:", len({answer.split(": ")[1] for answer in answers}))
    print(sorted(answers)[0], end="")


plainly()
securely()
asyncio.run(together())
