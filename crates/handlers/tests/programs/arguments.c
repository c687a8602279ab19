/* Calls with pointers, directory arguments and flags of all kinds; a line for each, with its error. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096
#define FCHMODAT2 452
#define LOW_KERNEL ((char *)0xffff888000000000)
#define NOT_CANONICAL ((char *)0x8000000000000000)

static void say(const char *what, const char *with, long outcome) {
    printf("%s, %s: %d\n", what, with, outcome < 0 ? errno : 0);
    /* Whatever has been made makes room for the next. */
    rmdir("made");
    unlink("made");
}

/* `count` pages, behind which nothing can be read, below 4 GiB for the 32-bit calls. All are of one reservation: in a
   hole between two mappings of their own the next mapping could lie. */
static char *pages(int count) {
    static char *next;
    if (!next) next = mmap(NULL, 256 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    char *at = next;
    next += (count + 1) * PAGE;
    return mprotect(at, count * PAGE, PROT_READ | PROT_WRITE) ? NULL : at;
}

/* `len` bytes at a page's end. */
static char *before_the_end(const char *bytes, size_t len) {
    return memcpy(pages(1) + PAGE - len, bytes, len);
}

static char *forbidden(void) {
    char *at = pages(1);
    strcpy(at, "made");
    mprotect(at, PAGE, PROT_NONE);
    return at;
}

static char *unmapped(void) {
    char *at = pages(1);
    munmap(at, PAGE);
    return at;
}

/* A path of `len` bytes, most of which names the working directory. */
static char *long_path(size_t len) {
    char *at = pages(3);
    for (size_t i = 0; i < len; i++) at[i] = i % 2 ? '/' : '.';
    memcpy(at + len - 5 - len % 2, "/made/", 5 + len % 2);
    return at;
}

static char *long_name(size_t len) {
    char *at = pages(1);
    memset(at, 'n', len);
    return at;
}

static struct { const char *name; char *at; } strings[16];

static void paths(void) {
    for (int i = 0; strings[i].name; i++) {
        const char *with = strings[i].name;
        char *path = strings[i].at;
        say("mkdir", with, syscall(SYS_mkdir, path, 0777));
        say("mkdirat", with, syscall(SYS_mkdirat, AT_FDCWD, path, 0777));
        say("mknod", with, syscall(SYS_mknod, path, S_IFIFO | 0666, 0));
        say("mknodat", with, syscall(SYS_mknodat, AT_FDCWD, path, S_IFREG | 0600, 0));
        say("mknod of no such kind", with, syscall(SYS_mknod, path, 0150000, 0));
        say("mknod of a directory", with, syscall(SYS_mknod, path, S_IFDIR, 0));
        say("chmod", with, syscall(SYS_chmod, path, 0600));
        say("fchmodat", with, syscall(SYS_fchmodat, AT_FDCWD, path, 0600));
        say("fchmodat2", with, syscall(FCHMODAT2, AT_FDCWD, path, 0600, AT_SYMLINK_NOFOLLOW));
        say("chown", with, syscall(SYS_chown, path, -1, -1));
        say("lchown", with, syscall(SYS_lchown, path, -1, -1));
        say("fchownat", with, syscall(SYS_fchownat, AT_FDCWD, path, -1, -1, 0));
        say("setxattr", with, syscall(SYS_setxattr, path, "user.x", "y", 1, 0));
        say("removexattr", with, syscall(SYS_removexattr, path, "user.x"));
        say("setxattr by name", with, syscall(SYS_lsetxattr, "own", path, "y", 1, 0));
        say("removexattr by name", with, syscall(SYS_lremovexattr, "own", path));
        say("setxattr to value", with, syscall(SYS_setxattr, "own", "user.value", path, 5, 0));
        say("setxattr to nothing", with, syscall(SYS_setxattr, "own", "user.value", path, 0, 0));
    }
}

static void directories(void) {
    int pair[2], file = open("own", O_RDONLY), link = open("middle", O_PATH | O_NOFOLLOW);
    if (pipe(pair)) return;
    const struct { const char *name; int fd; } all[] = {
        {"closed", 77}, {"negative", -1}, {"cwd", AT_FDCWD}, {"far", 1 << 30},
        {"directory", open("real", O_RDONLY)}, {"directory by path", open("real", O_PATH)},
        {"other mount", open("other", O_RDONLY)}, {"other mount by path", open("other", O_PATH)},
        {"file", file}, {"file by path", open("own", O_PATH)}, {"another's file", open("file", O_RDONLY)},
        {"link", link}, {"pipe", pair[0]}, {"socket", socket(AF_UNIX, SOCK_STREAM, 0)},
        {"memory", memfd_create("memory", 0)},
    };
    const char *paths[] = {"made", "in", "", "..", "../made", "/w/made", NULL, "own"};
    const int flags[] = {0, AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, AT_REMOVEDIR};
    char with[64];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        int fd = all[i].fd;
        say("fchmod", all[i].name, syscall(SYS_fchmod, fd, 0640));
        say("fchown", all[i].name, syscall(SYS_fchown, fd, -1, getgid()));
        /* Some kernels (6.13 on) take AT_FDCWD for the working directory here, where no descriptor has its number. */
        if (fd != AT_FDCWD) {
            say("fsetxattr", all[i].name, syscall(SYS_fsetxattr, fd, "user.fd", "y", 1, 0));
            say("fremovexattr", all[i].name, syscall(SYS_fremovexattr, fd, "user.fd"));
        }
        for (size_t p = 0; p < sizeof paths / sizeof *paths; p++) {
            snprintf(with, sizeof with, "%s in %s", paths[p] ? paths[p] : "nowhere", all[i].name);
            say("mkdirat", with, syscall(SYS_mkdirat, fd, paths[p], 0777));
            say("mknodat", with, syscall(SYS_mknodat, fd, paths[p], S_IFIFO | 0666, 0));
            unlinkat(fd, "made", AT_REMOVEDIR);
            unlinkat(fd, "made", 0);
            say("fchmodat", with, syscall(SYS_fchmodat, fd, paths[p], 0750));
            for (size_t f = 0; f < sizeof flags / sizeof *flags; f++) {
                snprintf(with, sizeof with, "%s in %s, %x", paths[p] ? paths[p] : "nowhere", all[i].name, flags[f]);
                say("fchmodat2", with, syscall(FCHMODAT2, fd, paths[p], 0750, flags[f]));
                say("fchownat", with, syscall(SYS_fchownat, fd, paths[p], -1, getgid(), flags[f]));
            }
        }
    }
}

#ifdef __x86_64__
static long narrow(long number, long a, long b, long c, long d, long e) {
    long outcome;
    register long r8 __asm__("r8") = 0;
    __asm__ volatile("int $0x80"
                     : "=a"(outcome), "+r"(r8)
                     : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
                     : "memory", "r9", "r10", "r11");
    if ((int)outcome < 0) {
        errno = -(int)outcome;
        return -1;
    }
    return outcome;
}

/* The calls of a 32-bit program: of its arguments only the lower halves count. */
static void narrow_calls(void) {
    for (int i = 0; strings[i].name; i++) {
        const char *with = strings[i].name;
        long path = (long)strings[i].at;
        long high = 0x7700000000;
        char *own = strcpy(pages(1), "own"), *name = strcpy(pages(1), "user.y");
        say("32-bit mkdir", with, narrow(39, path | high, 0777, 0, 0, 0));
        say("32-bit mkdirat", with, narrow(296, AT_FDCWD, path, 0777, 0, 0));
        say("32-bit mknod", with, narrow(14, path, S_IFIFO | 0666, 0, 0, 0));
        say("32-bit mknodat", with, narrow(297, AT_FDCWD | high, path, S_IFREG, 0, 0));
        say("32-bit chmod", with, narrow(15, path, 0600, 0, 0, 0));
        say("32-bit fchmodat", with, narrow(306, AT_FDCWD, path, 0600, 0, 0));
        say("32-bit chown", with, narrow(182, path, 0xffff, 0xffff, 0, 0));
        say("32-bit chown32", with, narrow(212, path, -1, -1, 0, 0));
        say("32-bit lchown", with, narrow(16, path, 0xffff, 0xffff, 0, 0));
        say("32-bit lchown32", with, narrow(198, path, 0xffffffff, -1, 0, 0));
        say("32-bit fchownat", with, narrow(298, AT_FDCWD, path, -1, -1, 0));
        say("32-bit setxattr", with, narrow(226, path, (long)name, (long)own, 3, 0));
        say("32-bit setxattr by name", with, narrow(226, (long)own, path, (long)own, 3, 0));
    }
}
#else
static void narrow_calls(void) {}
#endif

int main(void) {
    setbuf(stdout, NULL);
    int count = 0;
#define STRING(what, where) strings[count].name = what, strings[count++].at = where
    STRING("plain", strcpy(pages(1), "made"));
    STRING("at a page's end", before_the_end("made", 5));
    STRING("over a page's end", strcpy(pages(2) + PAGE - 2, "made"));
    STRING("without an end", before_the_end("made", 4));
    STRING("empty at a page's end", before_the_end("", 1));
    STRING("null", NULL);
    STRING("unmapped", unmapped());
    STRING("protected", forbidden());
    STRING("the kernel's", LOW_KERNEL);
    STRING("not canonical", NOT_CANONICAL);
    STRING("of 4095 bytes", long_path(4095));
    STRING("of 4096 bytes", long_path(4096));
    STRING("of a name of 255 bytes", long_name(255));
    STRING("of a name of 256 bytes", long_name(256));
    paths();
    narrow_calls();
    directories();
    return 0;
}
