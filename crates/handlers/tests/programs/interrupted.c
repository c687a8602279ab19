/* interrupted CALL COUNT SIGNALS: makes a call COUNT times, each again for as long as it fails with EINTR, and says how
   that went. SIGNALS is `none`, or `restart` or `fail` for SIGURG every millisecond with a handler of that kind.
   The working directory has a file `own`; what is opened is `granted`. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t signals;
static char value[1000], granted[4096], name[32];

static void count_signal(int number) {
    (void)number;
    signals++;
}

/* A mount takes longer than other calls, and one that is interrupted again and again is never made. */
static void every(int milliseconds, int flags) {
    struct sigaction action = {.sa_handler = count_signal, .sa_flags = flags};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGURG};
    struct itimerspec often = {{0, milliseconds * 1000000}, {0, milliseconds * 1000000}};
    timer_t timer;
    sigaction(SIGURG, &action, NULL);
    if (timer_create(CLOCK_MONOTONIC, &event, &timer) || timer_settime(timer, 0, &often, NULL)) _exit(9);
}

/* Each: prepare what is not tried itself, make the call, and look whether it has been made. */

static int is_new(int i) {
    (void)i;
    return access(name, F_OK);
}

static int make_directory(int i) {
    (void)i;
    return mkdirat(AT_FDCWD, name, 0751);
}

static int make_node(int i) {
    (void)i;
    return mknodat(AT_FDCWD, name, S_IFIFO | 0751, 0);
}

static int is_made(int i) {
    (void)i;
    return !access(name, F_OK);
}

static int change_mode(int i) {
    return fchmodat(AT_FDCWD, "own", 0600 + i % 64, 0);
}

static int has_mode(int i) {
    struct stat own;
    return !stat("own", &own) && (own.st_mode & 07777) == 0600u + i % 64;
}

static int change_owner(int i) {
    return fchownat(AT_FDCWD, "own", -1, 2000 + i % 64, 0);
}

static int has_owner(int i) {
    struct stat own;
    return !stat("own", &own) && own.st_gid == 2000u + i % 64;
}

static int has_no_attribute(int i) {
    (void)i;
    return !removexattr("own", "user.x") || errno == ENODATA;
}

static int set_attribute(int i) {
    (void)i;
    return setxattr("own", "user.x", value, sizeof value, XATTR_CREATE);
}

static int has_attribute(int i) {
    (void)i;
    return getxattr("own", "user.x", NULL, 0) == sizeof value;
}

static int gets_attribute(int i) {
    (void)i;
    return !setxattr("own", "user.x", value, sizeof value, 0);
}

static int remove_attribute(int i) {
    (void)i;
    return removexattr("own", "user.x");
}

static int lacks_attribute(int i) {
    (void)i;
    return getxattr("own", "user.x", NULL, 0) < 0 && errno == ENODATA;
}

static int open_file(int i) {
    (void)i;
    int fd = open(granted, O_RDONLY);
    return fd < 0 ? fd : close(fd);
}

static int always(int i) {
    (void)i;
    return 1;
}

static int makes_directory(int i) {
    (void)i;
    return !mkdir(name, 0755);
}

static int mount_procfs(int i) {
    (void)i;
    return mount("proc", name, "proc", 0, NULL);
}

static int is_mounted(int i) {
    char self[64];
    (void)i;
    snprintf(self, sizeof self, "%s/self", name);
    return !access(self, F_OK);
}

static const struct {
    const char *name;
    int (*prepare)(int), (*call)(int), (*holds)(int);
} calls[] = {
    {"mkdirat", is_new, make_directory, is_made},
    {"mknodat", is_new, make_node, is_made},
    {"fchmodat", always, change_mode, has_mode},
    {"fchownat", always, change_owner, has_owner},
    {"setxattr", has_no_attribute, set_attribute, has_attribute},
    {"removexattr", gets_attribute, remove_attribute, lacks_attribute},
    {"openat", always, open_file, always},
    {"mount", makes_directory, mount_procfs, is_mounted},
};

static int count_descriptors(void) {
    int count = 0;
    for (int fd = 0; fd < 4096; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static int count_mounts(void) {
    int count = 0;
    char line[4096];
    FILE *file = fopen("/proc/self/mountinfo", "r");
    while (file && fgets(line, sizeof line, file)) count += !!strstr(line, "/made-");
    if (file) fclose(file);
    return count;
}

int main(int count, char **arguments) {
    int made = 0, twice = 0, interrupted = 0, other = 0, left = 0, which = 0;
    if (count != 4 || !getcwd(granted, sizeof granted - 16)) return 9;
    while (strcmp(calls[which].name, arguments[1]))
        if (++which == sizeof calls / sizeof *calls) return 9;
    strcat(granted, "/granted");
    memset(value, 'v', sizeof value);
    int descriptors = count_descriptors(), mounts = count_mounts();
    int milliseconds = strcmp(arguments[1], "mount") ? 1 : 20;
    if (!strcmp(arguments[3], "restart")) every(milliseconds, SA_RESTART);
    if (!strcmp(arguments[3], "fail")) every(milliseconds, 0);
    for (int i = 0; i < atoi(arguments[2]); i++) {
        snprintf(name, sizeof name, "made-%d", i);
        if (!calls[which].prepare(i)) return 8;
        int outcome;
        while ((outcome = calls[which].call(i)) && errno == EINTR) interrupted++;
        if (!outcome) made++;
        else if (errno == EEXIST || errno == ENODATA) twice++;
        else other++;
        if (!calls[which].holds(i)) other++;
    }
    signal(SIGURG, SIG_IGN);
    if (!strcmp(arguments[1], "openat")) left = count_descriptors() - descriptors;
    if (!strcmp(arguments[1], "mount")) left = count_mounts() - mounts - made;
    printf("made %d twice %d left %d interrupted %d other %d signals %d\n", made, twice, left, interrupted, other,
        (int)signals);
    return 0;
}
