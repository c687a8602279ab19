/* Does something again and again, as user 1000, while another thread changes what it is about.
   changing name FILE SECONDS: sets an attribute whose name another thread keeps changing.
   changing path PATH OTHER SECONDS: opens a path that another thread keeps changing, and prints every line that
   it has read. Both paths are of the same length.
   changing descriptor FILE OTHER SECONDS: changes the mode of a descriptor that is another file's at times. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

static char text[256];
static const char *one, *other;
static int files[2], changing_file;
static volatile int ended;

static void *change(void *unused) {
    (void)unused;
    while (!ended) {
        memcpy(text, other, strlen(one));
        memcpy(text, one, strlen(one));
        if (!changing_file) continue;
        dup2(files[1], changing_file);
        dup2(files[0], changing_file);
    }
    return NULL;
}

static void read_line(void) {
    char line[64] = "";
    int fd = open(text, O_RDONLY);
    if (fd < 0) return;
    if (read(fd, line, sizeof line - 1) > 0) puts(line);
    close(fd);
}

int main(int count, char **arguments) {
    if (count < 4) return 9;
    int is_name = !strcmp(arguments[1], "name"), is_descriptor = !strcmp(arguments[1], "descriptor");
    one = is_name ? "trusted.overlay.x" : arguments[2];
    other = is_name ? "trusted.strange.x" : arguments[3];
    strcpy(text, one);
    if (is_descriptor) {
        for (int i = 0; i < 2; i++) files[i] = open(arguments[2 + i], O_RDONLY);
        changing_file = dup(files[0]);
    }
    if (setresgid(1000, 1000, 1000) || setresuid(1000, 1000, 1000)) return 8;
    mode_t mode = 0;
    time_t end = time(NULL) + atoi(arguments[count - 1]);
    pthread_t thread;
    pthread_create(&thread, NULL, change, NULL);
    while (time(NULL) <= end) {
        if (is_name) setxattr(arguments[2], text, "", 0, 0);
        else if (is_descriptor) fchmod(changing_file, (mode = mode == 0600 ? 04777 : 0600));
        else read_line();
    }
    ended = 1;
    pthread_join(thread, NULL);
    return 0;
}
