# getaddrinfo of each name: `NAME: ADDRESS...` in order of their text.
import socket
import sys

for name in sys.argv[1:]:
    try:
        found = sorted({info[4][0] for info in socket.getaddrinfo(name, None)})
    except socket.gaierror as error:
        isNone = error.errno in (socket.EAI_NONAME, socket.EAI_NODATA)
        found = ["none" if isNone else str(error)]
    print(f"{name}:", *found)
