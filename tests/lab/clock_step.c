/* Preloaded into a node of the lab: its calendar clock is off by what stands in the file named by
 * LAB_CLOCK (seconds, eight bytes), from one moment to the next; the clocks that do not jump are
 * left alone. There is no namespace for the calendar clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t none;
static const volatile int64_t *off_s = &none;
static int (*others)(clockid_t clock, struct timespec *now);

__attribute__((constructor)) static void open_file(void)
{
    const char *path = getenv("LAB_CLOCK");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    others = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (fd >= 0) {
        const void *map = mmap(NULL, sizeof *off_s, PROT_READ, MAP_SHARED, fd, 0);
        off_s = map == MAP_FAILED ? &none : map;
        close(fd);
    }
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) {
        return others ? others(clock, now) : (int)syscall(SYS_clock_gettime, clock, now);
    }
    int r = (int)syscall(SYS_clock_gettime, clock, now);
    now->tv_sec += *off_s;
    return r;
}

int gettimeofday(struct timeval *now, void *zone)
{
    struct timespec time;
    int r = clock_gettime(CLOCK_REALTIME, &time);

    (void)zone;
    *now = (struct timeval){time.tv_sec, time.tv_nsec / 1000};
    return r;
}

time_t time(time_t *at)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (at) {
        *at = now.tv_sec;
    }
    return now.tv_sec;
}
