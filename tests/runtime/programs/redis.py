"""Asks redis, has it save in the background, and stops it."""

import os, shutil, socket, subprocess, tempfile, time
place = tempfile.mkdtemp()
server = subprocess.Popen(["/usr/bin/redis-server", "--port", "0", "--unixsocket", place + "/socket", "--dir", place,
    "--save", "", "--logfile", place + "/log"])
time.sleep(0.01)
client = socket.socket(socket.AF_UNIX)
client.settimeout(30)
while client.connect_ex(place + "/socket") != 0 and server.poll() is None:
    time.sleep(0.01)
answers = client.makefile("rb")
def ask(line):
    client.sendall(line.encode() + b"\r\n")
    answer = answers.readline().strip()
    if answer.startswith(b"$"):
        answer = answers.read(int(answer[1:]) + 2).strip()
    return answer.decode()
print(ask("PING"), ask("SET a 41"), ask("INCR a"), ask("GET a"), ask("BGSAVE"))
while "rdb_bgsave_in_progress:0" not in ask("INFO persistence"):
    time.sleep(0.01)
print(os.path.exists(place + "/dump.rdb"))
client.sendall(b"SHUTDOWN NOSAVE\r\n")
print(server.wait(30))
shutil.rmtree(place)
