# Waits in recv for a byte that never comes, and then in connect. Says `blocked`, and what became of both.
# Arguments: HOST NOBODY
import errno
import socket
import sys
import threading

ECHO = 7001


def wait(name, act):
    try:
        said = act()
    except OSError as error:
        said = errno.errorcode[error.errno]
    print(name, said, flush=True)


connected = socket.create_connection((sys.argv[1], ECHO))
dialling = threading.Thread(target=wait, args=("connect", lambda: socket.create_connection((sys.argv[2], ECHO))))
dialling.start()
print("blocked", flush=True)
wait("recv", lambda: connected.recv(1))
dialling.join()
