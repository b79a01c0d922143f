# Stands where resolvers of this machine listen, and tells of whoever comes by a line `PLACE WORDS`: the letters of what it is
# asked first. Answers nothing. Arguments: unix:PATH or udp:ADDRESS
import os
import re
import selectors
import socket
import sys

listeners = selectors.DefaultSelector()
for place in sys.argv[1:]:
    kind, _, where = place.partition(":")
    if kind == "unix":
        os.makedirs(os.path.dirname(where), exist_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(where)
        listener.listen()
    else:
        listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        listener.bind((where, 53))
    listeners.register(listener, selectors.EVENT_READ, place)

print("ready", flush=True)
while True:
    for key, _ in listeners.select():
        if key.data.startswith("unix:"):
            asker, _ = key.fileobj.accept()
            with asker:
                asker.settimeout(5)
                asked = asker.recv(1024)
        else:
            asked = key.fileobj.recv(65536)
        print(key.data, re.sub("[^a-z]+", " ", asked.decode("latin1")).strip(), flush=True)
