/* What sysinfo says of memory and threads, in bytes and one line; then the errors of two bad pointers. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifdef __x86_64__
/* As a 32-bit program would. */
static void narrow(void) {
    uint32_t *info = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
    long outcome;
    memset(info, 0xff, 4096);
    __asm__ volatile("int $0x80" : "=a"(outcome) : "a"(116), "b"(info) : "memory", "r8", "r9", "r10", "r11");
    uint64_t unit = info[13];
    printf("32-bit %ld: %llu %u, then %x\n", outcome, (unsigned long long)(info[4] * unit), ((uint16_t *)info)[20],
           info[16]);
}
#else
static void narrow(void) {}
#endif

int main(void) {
    struct sysinfo info;
    long outcome = syscall(SYS_sysinfo, &info);
    printf("%ld: %lu %lu %u\n", outcome, info.totalram * info.mem_unit, info.freeram * info.mem_unit, info.procs);
    narrow();
    char *nothing = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    munmap(nothing, 4096);
    outcome = syscall(SYS_sysinfo, nothing);
    printf("%ld %d\n", outcome, errno);
    outcome = syscall(SYS_sysinfo, NULL);
    printf("%ld %d\n", outcome, errno);
    return 0;
}
