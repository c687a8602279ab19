/* interrupted COUNT SIGNALS: makes directories, each by one call that is repeated for as long as it fails with
   EINTR, and says how that went. SIGNALS is `none`, or `restart` or `fail` for SIGURG every millisecond with a
   handler of that kind. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t signals;

static void count_signal(int number) {
    (void)number;
    signals++;
}

static void every_millisecond(int flags) {
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = flags};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGURG};
    struct itimerspec often = {{0, 1000000}, {0, 1000000}};
    timer_t timer;
    sigaction(SIGURG, &action, NULL);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &often, NULL)) _exit(9);
}

int main(int count, char **arguments) {
    int made = 0, exists = 0, interrupted = 0, other = 0;
    char name[32];
    if (count != 3) return 9;
    if (!strcmp(arguments[2], "restart")) every_millisecond(SA_RESTART);
    if (!strcmp(arguments[2], "fail")) every_millisecond(0);
    for (int i = 0; i < atoi(arguments[1]); i++) {
        snprintf(name, sizeof name, "made-%d", i);
        int outcome;
        while ((outcome = mkdirat(AT_FDCWD, name, 0751)) && errno == EINTR) interrupted++;
        if (!outcome) made++;
        else if (errno == EEXIST) exists++;
        else other++;
    }
    printf("made %d exists %d interrupted %d other %d signals %d\n", made, exists, interrupted, other, (int)signals);
    return 0;
}
