# The same demo service in Python.
import http.server
import json
import os
import signal
import socket
import sys
from urllib.parse import parse_qs, urlparse


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlparse(self.path)
        query = parse_qs(url.query)
        if url.path == "/sum":
            body = {"sum": int(query["a"][0]) + int(query["b"][0])}
        else:
            body = {"service": os.environ.get("SERVICE"), "host": socket.gethostname(), "path": url.path}
        data = (json.dumps(body) + "\n").encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
http.server.ThreadingHTTPServer(("", 8080), Handler).serve_forever()
