/* reach TARGET...: changes each target by calls that take a path, and makes something in its place and below
   it. Says what has succeeded. The targets are not looked at before. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static void say(const char *what, const char *path, int outcome) {
    if (!outcome) printf("done %s %s\n", what, path);
}

int main(int count, char **arguments) {
    char below[4096];
    for (int i = 1; i < count; i++) {
        const char *path = arguments[i];
        struct stat link;
        snprintf(below, sizeof below, "%s/made", path);
        say("chmod", path, chmod(path, 04777));
        say("chown", path, chown(path, 1000, 1000));
        /* A link of the container's own is its to change. */
        if (path[0] == '/' || lstat(path, &link) || !S_ISLNK(link.st_mode)) say("lchown", path, lchown(path, 1000, 1000));
        say("setxattr", path, setxattr(path, "trusted.overlay.x", "y", 1, 0));
        say("removexattr", path, removexattr(path, "user.x"));
        say("mkdir", path, mkdir(path, 0777));
        say("mkdir below", below, mkdir(below, 0777));
        say("mknod", path, mknod(path, S_IFCHR | 0666, makedev(1, 3)));
        say("mknod below", below, mknod(below, S_IFCHR | 0666, makedev(1, 3)));
    }
    return 0;
}
