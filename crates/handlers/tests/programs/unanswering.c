/* unanswering fuse PLACE: makes directories in a file system whose server never answers.
   unanswering page: makes one whose path is on a page that nobody ever supplies.
   unanswering frozen PLACE: makes directories in a file system that is frozen.
   Four processes do it; the first prints a line when all are about to. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static char path[256];

static const char *in_a_mute_file_system(const char *place) {
    char options[64];
    int server = open("/dev/fuse", O_RDWR);
    if (server < 0) {
        /* A machine that is a container itself may have the file system and not the device. */
        snprintf(path, sizeof path, "%s.device", place);
        mknod(path, S_IFCHR | 0600, makedev(10, 229));
        server = open(path, O_RDWR);
        unlink(path);
    }
    if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) return NULL;
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", server);
    if (mount("mute", place, "fuse", 0, options)) return NULL;
    snprintf(path, sizeof path, "%s/made", place);
    return path;
}

static const char *on_a_missing_page(void) {
    int fd = syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = {.api = UFFD_API};
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register what = {.range = {(unsigned long)page, 4096}, .mode = UFFDIO_REGISTER_MODE_MISSING};
    if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &what)) return NULL;
    return page;
}

int main(int count, char **arguments) {
    int is_fuse = count == 3 && !strcmp(arguments[1], "fuse");
    int is_frozen = count == 3 && !strcmp(arguments[1], "frozen");
    const char *made = is_fuse ? in_a_mute_file_system(arguments[2]) : NULL;
    for (int i = 0; i < 3; i++) {
        if (fork()) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        goto call;
    }
    puts("calling");
    fflush(stdout);
call:
    /* A page's monitor counts for the process that has asked for it. */
    if (!is_fuse && !is_frozen) made = on_a_missing_page();
    if (is_frozen) {
        snprintf(path, sizeof path, "%s/made-%d", arguments[2], getpid());
        made = path;
    }
    if (!made) return 9;
    mkdir(made, 0777);
    return 0;
}
