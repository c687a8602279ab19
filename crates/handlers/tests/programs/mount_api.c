/* Mounts procfs step by step, as mount(8) of util-linux does, and says what each step returned: no descriptor
 * numbers, nothing that differs from run to run. In a directory with d, e, f, file and link -> d. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Not by their names: some C libraries have functions of these. */
enum { NR_OPEN_TREE = 428, NR_MOVE_MOUNT, NR_FSOPEN, NR_FSCONFIG, NR_FSMOUNT, NR_FSPICK, NR_MOUNT_SETATTR = 442 };
enum { FLAG, STRING, BINARY, PATH, PATH_EMPTY, FD, CREATE, RECONFIGURE, CREATE_EXCL };
enum { RDONLY = 1, SAFE = 2 | 4 | 8, F_EMPTY = 4, T_SYMLINKS = 0x10, T_EMPTY = 0x40 };

struct attributes {
	uint64_t set, clear, propagation, user_namespace, unknown;
};

static int said(const char *what, long value)
{
	printf("%s: %s\n", what, value < 0 ? strerrorname_np(errno) : "fine");
	return value;
}

static int fs_open(const char *kind, unsigned flags)
{
	return syscall(NR_FSOPEN, kind, flags);
}

static int fs_config(int fd, unsigned command, const char *key, const void *value, int aux)
{
	return syscall(NR_FSCONFIG, fd, command, key, value, aux);
}

static int fs_mount(int fd, unsigned flags, unsigned attributes)
{
	return syscall(NR_FSMOUNT, fd, flags, attributes);
}

static int setattr(int fd, unsigned flags, struct attributes attributes, size_t size)
{
	return syscall(NR_MOUNT_SETATTR, fd, "", flags, &attributes, size);
}

static int move(int fd, int to, const char *path, unsigned flags)
{
	return syscall(NR_MOVE_MOUNT, fd, "", to, path, F_EMPTY | flags);
}

static int created(void)
{
	int context = fs_open("proc", 1);
	if (context < 0 || fs_config(context, CREATE, NULL, NULL, 0))
		exit(said("context", -1));
	return context;
}

static int mounted(unsigned attributes)
{
	int context = created(), mount = fs_mount(context, 1, attributes);
	if (mount < 0)
		exit(said("mount", -1));
	close(context);
	return mount;
}

/* The mounts below here, without the numbers. */
static void table(void)
{
	char here[4096], line[8192], root[4096], at[4096], rest[4096];
	FILE *file = fopen("/proc/self/mountinfo", "re");
	if (!file || !getcwd(here, sizeof here))
		exit(said("table", -1));
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "%*d %*d %*s %4095s %4095s %4095[^\n]", root, at, rest) == 3
		    && !strncmp(at, here, strlen(here)))
			printf("%s on %s: %s\n", root, at + strlen(here), rest);
	fclose(file);
}

static void contexts(void)
{
	char long_key[300] = { 0 };
	memset(long_key, 'k', sizeof long_key - 1);
	said("null", fs_open(NULL, 1));
	said("flags", fs_open("proc", 2));
	int stays = said("kept at exec", fs_open("proc", 0)), fd = said("open", fs_open("proc", 1));
	printf("flags %d %d\n", fcntl(stays, F_GETFD), fcntl(fd, F_GETFD));
	char byte;
	printf("nothing to read: %d\n", read(fd, &byte, 1) < 0);
	said("no descriptor", fs_config(-1, CREATE, NULL, NULL, 0));
	said("closed", fs_config(99, CREATE, NULL, NULL, 0));
	said("no context", fs_config(0, CREATE, NULL, NULL, 0));
	said("unknown key", fs_config(fd, STRING, "nonsense", "1", 0));
	said("unknown flag", fs_config(fd, FLAG, "nonsense", NULL, 0));
	said("long key", fs_config(fd, STRING, long_key, "1", 0));
	said("long value", fs_config(fd, STRING, "source", long_key, 0));
	said("no key", fs_config(fd, STRING, NULL, "1", 0));
	said("no value", fs_config(fd, STRING, "gid", NULL, 0));
	said("bad key", fs_config(fd, STRING, (char *)8, "1", 0));
	said("bad value", fs_config(fd, STRING, "gid", (char *)8, 0));
	said("flag with value", fs_config(fd, FLAG, "ro", "1", 0));
	said("aux", fs_config(fd, FLAG, "ro", NULL, 1));
	said("create with key", fs_config(fd, CREATE, "ro", NULL, 0));
	said("unknown command", fs_config(fd, 99, NULL, NULL, 0));
	said("value out of range", fs_config(fd, STRING, "hidepid", "99", 0));
	said("string for a flag", fs_config(fd, STRING, "ro", "1", 0));
	said("flag for a string", fs_config(fd, FLAG, "gid", NULL, 0));
	said("too early", fs_mount(fd, 1, 0));
	said("source", fs_config(fd, STRING, "source", "src", 0));
	said("second source", fs_config(fd, STRING, "source", "src", 0));
	said("hidepid", fs_config(fd, STRING, "hidepid", "invisible", 0));
	said("gid", fs_config(fd, STRING, "gid", "5", 0));
	said("ro", fs_config(fd, FLAG, "ro", NULL, 0));
	int again = dup(fd);
	said("create by a duplicate", fs_config(again, CREATE, NULL, NULL, 0));
	said("create again", fs_config(fd, CREATE, NULL, NULL, 0));
	said("late option", fs_config(fd, STRING, "gid", "6", 0));
	said("mount flags", fs_mount(fd, 2, 0));
	said("mount attributes", fs_mount(fd, 1, 1 << 30));
	said("two atimes", fs_mount(fd, 1, 0x70));
	int mount = said("mount", fs_mount(fd, 1, SAFE | 0x10));
	printf("flags %d\n", fcntl(mount, F_GETFD));
	said("mount again", fs_mount(fd, 1, SAFE));
	said("move", move(mount, AT_FDCWD, "d", 0));
	said("reconfigured", fs_config(fd, STRING, "hidepid", "0", 0) | fs_config(fd, RECONFIGURE, NULL, NULL, 0));
	table();
}

static void attributes(void)
{
	int fd = mounted(SAFE);
	said("ro", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .set = RDONLY }, 32));
	said("rw", setattr(fd, AT_EMPTY_PATH | AT_RECURSIVE, (struct attributes){ .clear = RDONLY }, 32));
	said("nothing", setattr(fd, AT_EMPTY_PATH, (struct attributes){ 0 }, 32));
	said("larger", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .set = RDONLY }, 40));
	said("unknown field", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .unknown = 1 }, 40));
	said("small", setattr(fd, AT_EMPTY_PATH, (struct attributes){ 0 }, 24));
	said("huge", setattr(fd, AT_EMPTY_PATH, (struct attributes){ 0 }, 1 << 20));
	said("atime alone", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .set = 0x10 }, 32));
	said("atime", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .set = 0x10, .clear = 0x70 }, 32));
	said("unknown", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .set = 1u << 30 }, 32));
	said("beyond", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .set = 1ull << 40 }, 32));
	said("private", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .propagation = 1 << 18 }, 32));
	said("no memory", syscall(NR_MOUNT_SETATTR, fd, "", AT_EMPTY_PATH, 8, 32));
	said("move", move(fd, AT_FDCWD, "d", 0));
	table();
}

static void places(void)
{
	char here[4096], self[32] = "", absolute[8192];
	int fd = mounted(SAFE), folder = open("e", O_PATH);
	if (!getcwd(here, sizeof here) || readlinkat(fd, "self", self, sizeof self - 1) < 0)
		exit(said("self", -1));
	printf("of our pid namespace: %d\n", atoi(self) == getpid());
	said("nowhere", move(fd, AT_FDCWD, "nothing", 0));
	said("empty", move(fd, AT_FDCWD, "", 0));
	said("bad address", move(fd, AT_FDCWD, (char *)8, 0));
	said("bad directory", move(fd, 99, "d", 0));
	said("below a file", move(fd, AT_FDCWD, "file/d", 0));
	said("a file", move(fd, AT_FDCWD, "file", 0));
	said("a link", move(fd, AT_FDCWD, "link", 0));
	said("through a link", move(fd, AT_FDCWD, "link", T_SYMLINKS));
	close(fd);
	said("a descriptor", move(mounted(SAFE), folder, "", T_EMPTY));
	snprintf(absolute, sizeof absolute, "%s/f/../f/.", here);
	said("absolute", move(mounted(SAFE), 99, absolute, 0));
	said("below a mount", move(mounted(SAFE), AT_FDCWD, "f/sys", 0));
	said("a procfs's own", move(mounted(SAFE), AT_FDCWD, "f/self/task", T_SYMLINKS));
	folder = open("link/..", O_PATH);
	said("relative", move(mounted(SAFE), folder, "link/../d", T_SYMLINKS));
	if (chdir("d/.."))
		said("chdir", -1);
	said("above", move(mounted(SAFE), AT_FDCWD, "f/../e", 0));
	table();
}

static void kind(const char *name, const char *key, const char *value, const char *to)
{
	int context = said(name, fs_open(name, 1));
	said("source", fs_config(context, STRING, "source", "src", 0));
	if (key)
		said(key, fs_config(context, STRING, key, value, 0));
	said("unknown", fs_config(context, STRING, "nonsense", "1", 0));
	said("create", fs_config(context, CREATE, NULL, NULL, 0));
	int mount = said("mount", fs_mount(context, 1, SAFE));
	said("move", move(mount, AT_FDCWD, to, 0));
	struct stat stat;
	fstat(mount, &stat);
	printf("%o %d %d\n", stat.st_mode, stat.st_uid, stat.st_gid);
}

static void kinds(void)
{
	kind("tmpfs", "size", "1m", "d");
	kind("mqueue", NULL, NULL, "e");
	kind("devpts", "ptmxmode", "666", "f");
	table();
}

/* A tmpfs that is attached. */
static void attached_tmpfs(const char *at)
{
	int context = fs_open("tmpfs", 1);
	fs_config(context, STRING, "source", "src", 0);
	fs_config(context, CREATE, NULL, NULL, 0);
	if (move(fs_mount(context, 1, 6), AT_FDCWD, at, 0))
		exit(said("tmpfs", -1));
}

static int pick(int folder, const char *path, unsigned flags)
{
	return syscall(NR_FSPICK, folder, path, flags);
}

static int attribute(int folder, const char *path, unsigned flags, struct attributes attributes)
{
	return syscall(NR_MOUNT_SETATTR, folder, path, flags, &attributes, 32);
}

/* What is attached already, changed and moved. */
static void remounts(void)
{
	attached_tmpfs("d");
	said("pick", pick(AT_FDCWD, "nothing", 1));
	said("no root", pick(AT_FDCWD, "d/..", 1));
	said("flags", pick(AT_FDCWD, "d", 0x10));
	said("bad directory", pick(99, "d", 1));
	int tree = said("tree", syscall(NR_OPEN_TREE, AT_FDCWD, "link", 02000000));
	int fd = said("by descriptor", pick(tree, "", 1 | 8));
	said("by link", pick(AT_FDCWD, "link", 1 | 2));
	said("unknown", fs_config(fd, STRING, "nonsense", "1", 0));
	said("size", fs_config(fd, STRING, "size", "1m", 0));
	said("ro", fs_config(fd, FLAG, "ro", NULL, 0));
	said("create", fs_config(fd, CREATE, NULL, NULL, 0));
	said("reconfigure", fs_config(fd, RECONFIGURE, NULL, NULL, 0));
	said("mount", fs_mount(fd, 1, 0));
	table();
	said("noexec", attribute(AT_FDCWD, "link", 0, (struct attributes){ .set = 8 }));
	said("a link", attribute(AT_FDCWD, "link", AT_SYMLINK_NOFOLLOW, (struct attributes){ .set = 8 }));
	said("noatime", attribute(tree, "", AT_EMPTY_PATH, (struct attributes){ .set = 0x10, .clear = 0x70 }));
	said("exec", attribute(tree, "", AT_EMPTY_PATH | AT_RECURSIVE, (struct attributes){ .clear = 8 }));
	said("nothing", attribute(AT_FDCWD, "nothing", 0, (struct attributes){ .set = 8 }));
	said("no mount", attribute(AT_FDCWD, "e", 0, (struct attributes){ .set = 8 }));
	said("unknown", attribute(tree, "", AT_EMPTY_PATH, (struct attributes){ .set = 1u << 30 }));
	table();
	said("move", syscall(NR_MOVE_MOUNT, tree, "", AT_FDCWD, "e", F_EMPTY));
	said("by path", syscall(NR_MOVE_MOUNT, AT_FDCWD, "e", AT_FDCWD, "f", 0));
	said("into itself", syscall(NR_MOVE_MOUNT, AT_FDCWD, "f", AT_FDCWD, "f", 0));
	said("on a file", syscall(NR_MOVE_MOUNT, AT_FDCWD, "f", AT_FDCWD, "file", 0));
	said("no mount", syscall(NR_MOVE_MOUNT, AT_FDCWD, "d", AT_FDCWD, "e", 0));
	said("from nothing", syscall(NR_MOVE_MOUNT, AT_FDCWD, "nothing", AT_FDCWD, "e", 0));
	said("to nothing", syscall(NR_MOVE_MOUNT, AT_FDCWD, "f", AT_FDCWD, "nothing", 0));
	said("by mount", mount("f", "d", NULL, MS_MOVE, NULL));
	said("again", mount("f", "d", NULL, MS_MOVE, NULL));
	table();
}

/* Binds that are not attached yet. */
static void binds(void)
{
	attached_tmpfs("e");
	mkdir("e/in", 0777);
	int fd = said("clone", syscall(NR_OPEN_TREE, AT_FDCWD, "e", 1 | 02000000));
	printf("flags %d\n", fcntl(fd, F_GETFD));
	said("noexec", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .set = 8 }, 32));
	said("move", move(fd, AT_FDCWD, "d", 0));
	said("a part", move(syscall(NR_OPEN_TREE, AT_FDCWD, "e/in", 1), AT_FDCWD, "f", 0));
	attached_tmpfs("e/in");
	said("a tree", move(syscall(NR_OPEN_TREE, AT_FDCWD, "e", 1 | AT_RECURSIVE), AT_FDCWD, "d/in", 0));
	said("nothing", syscall(NR_OPEN_TREE, AT_FDCWD, "nothing", 1));
	said("empty", syscall(NR_OPEN_TREE, AT_FDCWD, "", 1));
	said("flags", syscall(NR_OPEN_TREE, AT_FDCWD, "e", 1 | 4));
	table();
}

/* What nobody is to get: all of these fail, or have no effect. */
static void limits(void)
{
	said("another file system", fs_open("ramfs", 1));
	said("an overlay", fs_open("overlay", 1));
	said("an option that is not listed", fs_config(fs_open("tmpfs", 1), STRING, "mode", "777", 0));
	int fd = fs_open("proc", 1), outside = open("/proc/self/ns/pid", O_RDONLY);
	said("pid namespace by descriptor", fs_config(fd, FD, "pidns", NULL, outside));
	said("pid namespace by path", fs_config(fd, STRING, "pidns", "/proc/1/ns/pid", 0));
	said("path", fs_config(fd, PATH, "source", "/", AT_FDCWD));
	said("binary", fs_config(fd, BINARY, "source", "/", 1));
	fd = mounted(0);
	said("clear", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .clear = SAFE }, 32));
	said("shared", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .propagation = 1 << 20 }, 32));
	said("clone", syscall(NR_OPEN_TREE, fd, "", AT_EMPTY_PATH | 1));
	said("a directory of it", move(openat(fd, "sys", O_PATH), AT_FDCWD, "d", 0));
	said("beneath", move(fd, AT_FDCWD, "d", 0x200));
	said("another mount", move(open("/", O_PATH), AT_FDCWD, "d", 0));
	said("its attributes", setattr(open("/", O_PATH), AT_EMPTY_PATH, (struct attributes){ .clear = SAFE }, 32));
	said("move", move(fd, AT_FDCWD, "d", 0));
	said("move again", move(fd, AT_FDCWD, "e", 0));
	said("attached", setattr(fd, AT_EMPTY_PATH, (struct attributes){ .clear = SAFE }, 32));
	table();
	int many[16];
	close(fs_open("proc", 1));
	for (int i = 0; i < 15; i++)
		many[i] = fs_open("proc", 1);
	said("too many", fs_open("proc", 1));
	close(many[0]);
	said("one less", fs_open("proc", 1));
	for (int i = 1; i < 15; i++)
		close(many[i]);
	int first = mounted(0);
	for (int i = 0; i < 16; i++)
		close(mounted(0));
	said("given up", move(first, AT_FDCWD, "e", 0));
	said("newest", move(mounted(0), AT_FDCWD, "e", 0));
}

static void count(int folder, const char *name)
{
	DIR *stream = fdopendir(openat(folder, name, O_RDONLY | O_DIRECTORY));
	int entries = stream ? -2 : -1;
	while (stream && readdir(stream))
		entries++;
	printf("%s: %d\n", name, entries);
	if (stream)
		closedir(stream);
}

/* What is covered, before and after the mount is attached. */
static void masks(void)
{
	int fd = mounted(0);
	count(fd, "bus");
	said("bus/pci", openat(fd, "bus/pci", O_PATH));
	said("meminfo", openat(fd, "meminfo", O_PATH));
	said("move", move(fd, AT_FDCWD, "d", 0));
	count(open("d", O_PATH), "bus");
	said("uncover", umount2("d/bus", MNT_DETACH));
	count(open("d", O_PATH), "bus");
}

/* With all capabilities in a user namespace, which are none of the agent's business. */
static void in_user_namespace(void)
{
	char path[64], link[64] = "";
	said("unshare", unshare(CLONE_NEWUSER | CLONE_NEWNS));
	int fd = fs_open("proc", 1);
	said("open", fd);
	snprintf(path, sizeof path, "/proc/thread-self/fd/%d", fd);
	if (readlink(path, link, sizeof link - 1) > 0)
		puts(link);
}

/* Ends as if killed, after so many steps. */
static void killed_after(int steps)
{
	int context = -1, mount = -1;
	if (steps > 0)
		said("open", context = fs_open("proc", 1));
	if (steps > 1)
		said("create", fs_config(context, CREATE, NULL, NULL, 0));
	if (steps > 2)
		said("mount", mount = fs_mount(context, 1, 0));
	if (steps > 3)
		said("ro", setattr(mount, AT_EMPTY_PATH, (struct attributes){ .set = RDONLY }, 32));
	if (steps > 4)
		said("move", move(mount, AT_FDCWD, "d", 0));
	raise(SIGKILL);
}

int main(int count, char **arguments)
{
	setbuf(stdout, NULL);
	if (count != 3 || chdir(arguments[2]))
		return 2;
	switch (*arguments[1]) {
	case 'c':
		contexts();
		break;
	case 'a':
		attributes();
		break;
	case 'p':
		places();
		break;
	case 'm':
		masks();
		break;
	case 'r':
		remounts();
		break;
	case 'b':
		binds();
		break;
	case 'g':
		kind("cgroup2", NULL, NULL, "d");
		table();
		break;
	case 't':
		kinds();
		break;
	case 'u':
		in_user_namespace();
		break;
	case 'k':
		/* The first process of a pid namespace cannot kill itself. */
		if (!fork())
			killed_after(arguments[1][1] - '0');
		wait(NULL);
		break;
	default:
		limits();
	}
	return 0;
}
