"""A thread, a file and a child."""

import os, socket, subprocess, tempfile, threading
ours, theirs = socket.socketpair()
thread = threading.Thread(target=lambda: theirs.sendall(b"from a thread"))
thread.start()
print(ours.recv(64).decode())
thread.join()
with tempfile.TemporaryFile() as file:
    file.write(b"x" * 100000)
    print(file.tell())
print(subprocess.run(["/usr/bin/env", "/usr/bin/echo", "from a child"], capture_output=True).stdout.decode(), end="")
