/* idmapped FROM TO: mounts what is at FROM at TO, with user and group 1000 there being 4242 on disk, and 0 to 9
   themselves (`mount_setattr(2)`). */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int write_map(pid_t pid, const char *name) {
    static const char map[] = "4242 1000 1\n0 0 10\n";
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = open(path, O_WRONLY);
    return write(fd, map, sizeof map - 1) < 0;
}

int main(int count, char **arguments) {
    char path[64];
    int ready[2];
    if (count != 3 || pipe(ready)) return 9;
    pid_t child = fork();
    if (child == 0) {
        if (unshare(CLONE_NEWUSER)) _exit(1);
        if (write(ready[1], "", 1) == 1) pause();
        _exit(1);
    }
    if (read(ready[0], path, 1) != 1 || write_map(child, "uid_map") || write_map(child, "gid_map")) return 1;
    snprintf(path, sizeof path, "/proc/%d/ns/user", child);
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = open(path, O_RDONLY)};
    int tree = syscall(SYS_open_tree, AT_FDCWD, arguments[1], OPEN_TREE_CLONE);
    int failed = syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes)
        || syscall(SYS_move_mount, tree, "", AT_FDCWD, arguments[2], MOVE_MOUNT_F_EMPTY_PATH);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return failed ? 2 : 0;
}
