"""Has nginx check a configuration ("check"), or serve by it, reload it and stop ("serve")."""

import os, shutil, signal, socket, subprocess, sys, tempfile, time

place = tempfile.mkdtemp()
os.mkdir(place + "/www")
# Larger than what nginx copies, so that sendfile(2) sends it.
with open(place + "/www/page", "w") as page:
    page.write("hello\n" * 10000)
KINDS = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
temporary = "".join(f"{kind}_temp_path {place}/{kind};" for kind in KINDS)


def configure(more):
    with open(place + "/conf", "w") as conf:
        conf.write(f"""daemon off; user root; worker_processes 1; pid {place}/pid; events {{}}
            http {{ access_log off; sendfile on; {temporary}
                server {{ listen unix:{place}/socket; root {place}/www; {more} }} }}""")


def nginx(*words):
    command = ["/usr/sbin/nginx", "-p", place, "-e", place + "/log", "-c", place + "/conf", *words]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def has_crashed():
    with open(place + "/log") as log:
        return "exited on signal" in log.read()


def get(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(0.5)
    client.connect(place + "/socket")
    client.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    answer = b""
    while True:
        try:
            part = client.recv(65536)
        except socket.timeout:
            # The master starts another worker, which ends as the one before.
            if has_crashed():
                sys.exit("a worker has crashed")
            continue
        if not part:
            break
        answer += part
    head, body = answer.split(b"\r\n\r\n", 1)
    return head.split(b"\r\n")[0].decode(), len(body)


configure("")
if sys.argv[1] == "check":
    print(nginx("-t").wait(30))
else:
    server = nginx()
    time.sleep(0.01)
    while not os.path.exists(place + "/pid") and server.poll() is None:
        time.sleep(0.01)
    if server.poll() is not None:
        sys.exit("nginx has not started")
    print(get("/page"), get("/none"))
    configure("location = /new { return 200 new; }")
    server.send_signal(signal.SIGHUP)
    answer = None
    # The worker that goes may still answer.
    while answer != ("HTTP/1.1 200 OK", 3):
        time.sleep(0.01)
        answer = get("/new")
    print(answer, get("/page"))
    server.send_signal(signal.SIGQUIT)
    print(server.wait(30))
    if has_crashed():
        sys.exit("a worker has crashed")
shutil.rmtree(place)
