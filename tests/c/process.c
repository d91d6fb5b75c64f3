/* What a process may do to itself around a store: have no streams, and go to another folder. */
#define _POSIX_C_SOURCE 200809L
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

static const uint8_t KEY[32] = {6};

static sapwood_learner *open_in(const char *folder) {
    sapwood_config config = {.size = sizeof config, .folder = folder, .key = KEY};
    config.context_tokens = 512;
    sapwood_learner *learner = NULL;
    OK(sapwood_open(&config, &learner));
    return learner;
}

static void reply_in(sapwood_learner *learner) {
    sapwood_reply reply = ask(learner, "Triage: it crashes", 2);
    sapwood_string_free(reply.text);
}

/* A daemon has closed its streams, and something in it prints all the same. */
static void without_streams(const char *folder) {
    static const char line[] = "gateway: recorded one\n";
    int streams[3];
    for (int n = 0; n < 3; n++) {
        streams[n] = fcntl(n, F_DUPFD, 10);
        close(n);
    }
    sapwood_learner *learner = open_in(folder);
    OK(sapwood_set_consent(learner, SAPWOOD_CONSENT_GRANTED));
    int written = 0;
    for (int round = 0; round < 3; round++) {
        reply_in(learner);
        for (int n = 0; n < 3; n++) written += write(n, line, sizeof line - 1) > 0;
    }
    OK(sapwood_flush(learner));
    sapwood_close(learner);
    for (int n = 0; n < 3; n++) {
        if (streams[n] >= 0) dup2(streams[n], n), close(streams[n]);
    }
    CHECK(written == 0);
    learner = open_in(folder);
    CHECK(kept(learner) == 3);
    sapwood_close(learner);
}

/* A store that was opened by a relative name stays where it is. */
static void in_another_folder(const char *folder) {
    char before[1024];
    CHECK(getcwd(before, sizeof before) != NULL);
    CHECK(mkdir(folder, 0700) == 0 && chdir(folder) == 0);
    sapwood_learner *learner = open_in("store");
    OK(sapwood_set_consent(learner, SAPWOOD_CONSENT_GRANTED));
    reply_in(learner);
    CHECK(chdir("/") == 0);
    reply_in(learner);
    OK(sapwood_flush(learner));
    CHECK(kept(learner) == 2);
    sapwood_close(learner);
    CHECK(chdir(before) == 0);
}

void process(const char *folder) {
    char other[512];
    snprintf(other, sizeof other, "%s-streams", folder);
    without_streams(other);
    snprintf(other, sizeof other, "%s-elsewhere", folder);
    in_another_folder(other);
}
