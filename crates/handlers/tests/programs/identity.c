/* identity exec FILE: an unprivileged process changes the mode of root's FILE when its other thread, which is root,
   takes its number by executing something.
   identity reuse FILE: it does so, after a call of its own, when it is killed and root gets its number; then root
   changes the mode as well.
   No memory is looked at for that call, and the descriptor is the same before and after. FILE.received is there once
   the agent has received it, FILE.done once it has looked at it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int file;
static const char *path;

static void wait_until_received(void) {
    char name[256];
    snprintf(name, sizeof name, "%s.received", path);
    while (access(name, F_OK)) usleep(1000);
}

static void *take_the_number(void *unused) {
    (void)unused;
    wait_until_received();
    execl("/bin/busybox", "busybox", "sh", "-c", "until [ -e $0.done ]; do busybox sleep 0.01; done", path, NULL);
    return NULL;
}

/* This thread only; the C library would change all. */
static void become_user(void) {
    syscall(SYS_setresgid, 1000, 1000, 1000);
    syscall(SYS_setresuid, 1000, 1000, 1000);
}

static int by_exec(void) {
    pthread_t other;
    pthread_create(&other, NULL, take_the_number, NULL);
    become_user();
    fchmod(file, 0777);
    /* Not reached where the other thread has executed. */
    return 8;
}

static int by_reuse(void) {
    int called[2];
    if (pipe(called)) return 6;
    pid_t first = fork();
    if (first == 0) {
        become_user();
        if (fchmod(memfd_create("own", 0), 0700) || write(called[1], "", 1) != 1) _exit(5);
        fchmod(file, 0777);
        _exit(8);
    }
    if (read(called[0], called, 1) != 1) return 5;
    wait_until_received();
    kill(first, SIGKILL);
    waitpid(first, NULL, 0);
    struct clone_args how = {.exit_signal = SIGCHLD, .set_tid = (unsigned long)&first, .set_tid_size = 1};
    pid_t second = syscall(SYS_clone3, &how, sizeof how);
    if (second == 0) _exit(fchmod(file, 0640) ? 4 : 0);
    if (second != first) return 7;
    int status = -1;
    waitpid(second, &status, 0);
    return status;
}

int main(int count, char **arguments) {
    if (count != 3) return 9;
    path = arguments[2];
    file = open(path, O_RDONLY);
    return strcmp(arguments[1], "exec") ? by_reuse() : by_exec();
}
