/* See seeds.h. */
#include "seeds.h"
#include "base/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEED_S_MAX 120 /* then it hangs */

static int run_many(const char *program, const struct seeds_run *first, guint32 last,
                    void (*run)(const struct seeds_run *run))
{
    struct seeds_run now = *first;

    for (; now.seed <= last; now.seed++) {
        int status = 0;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(SEED_S_MAX);
            run(&now);
            exit(EXIT_SUCCESS); /* by way of what looks for leaks */
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0) {
            printf("seed %u fails; replay it with: %s %u %" G_GUINT64_FORMAT "\n", now.seed,
                   program, now.seed, now.steps);
            return EXIT_FAILURE;
        }
    }
    printf("%u seeds\n", last - first->seed + 1);
    return EXIT_SUCCESS;
}

int seeds_main(int argc, char **argv, const char *program, uint64_t steps,
               void (*run)(const struct seeds_run *run))
{
    const char *dash = argc > 1 ? strchr(argv[1], '-') : NULL;
    struct seeds_run wanted = {
        .seed = argc > 1 ? (guint32)strtoul(argv[1], NULL, 10) : g_random_int(),
        .steps = argc > 2 ? strtoull(argv[2], NULL, 10) : steps,
        .traced = argc > 3 ? atoi(argv[3]) : -1,
        .is_told = !dash,
    };

    setvbuf(stdout, NULL, _IOLBF, 0); /* complete up to an abort */
    log_set_level(LOG_LEVEL_ERROR);
    if (dash) {
        return run_many(program, &wanted, (guint32)strtoul(dash + 1, NULL, 10), run);
    }
    printf("%s %u %" G_GUINT64_FORMAT "\n", program, wanted.seed, wanted.steps);
    run(&wanted);
    return EXIT_SUCCESS;
}
