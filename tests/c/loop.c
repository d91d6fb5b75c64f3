/* The whole loop through the C interface on the library's own model: chat, stream, cancel, signals,
 * training, adapters, rollback; everything that a program can get wrong; keys,
 * and recording without a model.
 *
 *   loop FOLDER ADAPTER_FILE
 */
#include <stdbool.h>
#include <string.h>

#include "check.h"

int checks;

static const uint8_t KEY[32] = {1, 2, 3, 4, 5, 6, 7, 8};

struct stream {
    char text[4096];
    int pieces;
    int cancel_after;
};

static int32_t on_text(const char *text, void *user) {
    struct stream *stream = user;
    strncat(stream->text, text, sizeof stream->text - strlen(stream->text) - 1);
    stream->pieces++;
    return stream->cancel_after > 0 && stream->pieces >= stream->cancel_after;
}

static int32_t count(const sapwood_sample *sample, void *user) {
    (void)sample;
    ++*(int *)user;
    return 0;
}

int kept(const sapwood_learner *learner) {
    int samples = 0;
    OK(sapwood_samples(learner, count, &samples));
    return samples;
}

static sapwood_learner *open_in(const char *folder) {
    sapwood_training training = {.size = sizeof training, .examples = 1, .conversations = 1};
    training.steps = 4;
    training.batch = 3;
    training.checkpoint_steps = 1;
    training.no_cooldown = 1;
    sapwood_config config = {.size = sizeof config, .folder = folder, .key = KEY};
    config.context_tokens = 512;
    config.training = &training;
    sapwood_learner *learner = NULL;
    OK(sapwood_open(&config, &learner));
    CHECK(learner != NULL);
    return learner;
}

static sapwood_sampling greedy(uint32_t max_tokens) {
    sapwood_sampling sampling = {.size = sizeof sampling};
    OK(sapwood_sampling_init(&sampling));
    CHECK(sampling.top_k == 40 && sampling.record == 1);
    sampling.temperature = 0;
    sampling.max_tokens = max_tokens;
    return sampling;
}

sapwood_reply ask(sapwood_learner *learner, const char *request, uint32_t max_tokens) {
    sapwood_chat *chat = NULL;
    OK(sapwood_chat_open(learner, "triage", NULL, NULL, 0, &chat));
    sapwood_sampling sampling = greedy(max_tokens);
    sapwood_reply reply = {.size = sizeof reply};
    OK(sapwood_respond(chat, request, &sampling, NULL, NULL, NULL, &reply));
    sapwood_chat_close(chat);
    return reply;
}

static void replies(sapwood_learner *learner) {
    sapwood_chat *chat = NULL;
    sapwood_message before[2] = {
        {.size = sizeof before[0], .role = SAPWOOD_ROLE_USER, .content = "Triage: it crashes"},
        {.size = sizeof before[0], .role = SAPWOOD_ROLE_ASSISTANT, .content = "bug"},
    };
    OK(sapwood_chat_open(learner, "triage", NULL, before, 2, &chat));
    sapwood_sampling sampling = greedy(32);
    struct stream stream = {0};
    sapwood_reply reply = {.size = sizeof reply};
    OK(sapwood_respond(chat, "Triage: I want my money back", &sampling, NULL, on_text, &stream,
                       &reply));
    CHECK(stream.pieces > 0 && strcmp(stream.text, reply.text) == 0);
    CHECK(strlen(reply.id) == 32 && reply.adapter[0] == 0 && reply.stop == SAPWOOD_STOP_END);
    CHECK(reply.tokens > 0 && reply.prompt_tokens > reply.tokens);
    sapwood_string_free(reply.text);

    char first[33];
    memcpy(first, reply.id, sizeof first);
    OK(sapwood_regenerate(chat, &sampling, NULL, NULL, NULL, &reply));
    CHECK(strcmp(first, reply.id) != 0);
    sapwood_string_free(reply.text);
    sapwood_chat_close(chat);

    /* A reply that is cancelled from the callback ends early and says so. */
    OK(sapwood_chat_open(learner, "mail", "Answer politely.", NULL, 0, &chat));
    struct stream cancelled = {.cancel_after = 1};
    sampling.max_tokens = 256;
    OK(sapwood_respond(chat, "Reply (friendly): are you coming on Tuesday with all the others?",
                       &sampling, NULL, on_text, &cancelled, &reply));
    CHECK(reply.stop == SAPWOOD_STOP_CANCELLED || reply.stop == SAPWOOD_STOP_END);
    sapwood_string_free(reply.text);
    sapwood_chat_close(chat);
}

static int32_t count_all(const sapwood_sample *sample, void *user) {
    (void)sample;
    (*(int *)user)++;
    return 0;
}

/* A stop cancels while the prompt is read: the conversation is as it was, and nothing is kept. */
static void cancelled_prompts(sapwood_learner *learner) {
    sapwood_chat *chat = NULL;
    sapwood_stop *stop = sapwood_stop_new();
    sapwood_reply reply = {.size = sizeof reply};
    int before = 0, after = 0;
    OK(sapwood_samples(learner, count_all, &before));
    OK(sapwood_stop_request(stop));
    OK(sapwood_chat_open(learner, "triage", NULL, NULL, 0, &chat));
    OK(sapwood_respond(chat, "Triage: never mind", NULL, stop, on_text, NULL, &reply));
    CHECK(reply.stop == SAPWOOD_STOP_CANCELLED && reply.tokens == 0 && reply.text[0] == 0);
    CHECK(reply.prompt_tokens > 0);
    sapwood_string_free(reply.text);
    CHECK(sapwood_regenerate(chat, NULL, NULL, NULL, NULL, NULL) == SAPWOOD_NOT_FOUND);
    OK(sapwood_samples(learner, count_all, &after));
    CHECK(before == after);
    sapwood_stop_free(stop);

    /* A stop that nobody requests changes nothing, and the callback does not request it. */
    stop = sapwood_stop_new();
    sapwood_sampling sampling = greedy(64);
    struct stream stream = {.cancel_after = 1};
    for (int n = 0; n < 2; n++) {
        OK(sapwood_respond(chat, "Reply: can we meet on Monday?", &sampling, stop, on_text, &stream,
                           &reply));
        CHECK(reply.tokens > 0);
        sapwood_string_free(reply.text);
    }
    sapwood_stop_free(stop);
    sapwood_chat_close(chat);
}

static int32_t count_samples(const sapwood_sample *sample, void *user) {
    int *edited = user;
    CHECK(sample->size == sizeof *sample && strlen(sample->request) > 0 && sample->time_ms > 0);
    if (sample->edited != NULL) {
        CHECK(strcmp(sample->edited, "logistics") == 0 && sample->signals == 1);
        (*edited)++;
    }
    return 0;
}

static int32_t stop_at_once(const sapwood_sample *sample, void *user) {
    (void)sample;
    (*(int *)user)++;
    return 1;
}

/* Training that may not take what it needs does not begin, and says why. */
static void little_memory(const char *folder) {
    sapwood_idle_policy idle = {.size = sizeof idle};
    OK(sapwood_idle_policy_init(&idle));
    CHECK(idle.need_charging == 1 && idle.need_idle == 1 && idle.least_battery_percent == 20);
    CHECK(idle.hottest == SAPWOOD_THERMAL_FAIR && idle.memory_bytes == 0);
    CHECK(idle.cpu_share == 0.7 && idle.back_off_ms == 15 * 60000);
    sapwood_config config = {.size = sizeof config, .folder = folder, .key = KEY, .idle = &idle};
    sapwood_learner *learner = NULL;
    sapwood_slice_report report = {.size = sizeof report};
    idle.memory_bytes = 1 << 20;
    OK(sapwood_open(&config, &learner));
    OK(sapwood_train_slice(learner, 1000, NULL, &report));
    CHECK(report.outcome == SAPWOOD_OUTCOME_WAITING);
    CHECK(report.holds == SAPWOOD_HOLD_TOO_LITTLE_MEMORY);
    CHECK(strstr(report.summary, "allow it more memory") != NULL);
    sapwood_close(learner);
    idle.hottest = 9;
    CHECK(sapwood_open(&config, &learner) == SAPWOOD_INVALID);
    idle.hottest = SAPWOOD_THERMAL_FAIR;
    idle.cpu_share = 0;
    CHECK(sapwood_open(&config, &learner) == SAPWOOD_INVALID);
    idle.cpu_share = 0.7;
    idle.least_battery_percent = 300;
    CHECK(sapwood_open(&config, &learner) == SAPWOOD_INVALID);
    CHECK(sapwood_idle_policy_init(NULL) == SAPWOOD_INVALID);
}

static void training(sapwood_learner *learner) {
    char request[64];
    for (int n = 0; n < 12; n++) {
        snprintf(request, sizeof request, "Triage: parcel number %d has not arrived", n);
        sapwood_reply reply = ask(learner, request, 8);
        OK(sapwood_signal(learner, reply.id, SAPWOOD_SIGNAL_EDITED, "logistics", 0));
        sapwood_string_free(reply.text);
    }
    int edited = 0, seen = 0;
    OK(sapwood_samples(learner, count_samples, &edited));
    CHECK(edited == 12);
    OK(sapwood_samples(learner, stop_at_once, &seen));
    CHECK(seen == 1);

    /* On battery nothing is trained. */
    sapwood_device_state device = {.size = sizeof device, .idle = 1, .battery_percent = 90};
    OK(sapwood_device_changed(learner, &device));
    sapwood_slice_report report = {.size = sizeof report};
    OK(sapwood_train_slice(learner, 60000, NULL, &report));
    CHECK(report.outcome == SAPWOOD_OUTCOME_WAITING);
    CHECK(report.holds == SAPWOOD_HOLD_NOT_CHARGING && strlen(report.summary) > 0);
    device.charging = 1;
    OK(sapwood_device_changed(learner, &device));

    /* A stop that was asked for before the slice. */
    sapwood_stop *stop = sapwood_stop_new();
    OK(sapwood_stop_request(stop));
    OK(sapwood_train_slice(learner, 600000, stop, &report));
    CHECK(report.outcome == SAPWOOD_OUTCOME_PAUSED && report.holds == 0);
    sapwood_stop_free(stop);

    do {
        OK(sapwood_train_slice(learner, 600000, NULL, &report));
    } while (report.outcome == SAPWOOD_OUTCOME_PAUSED);
    CHECK(report.outcome == SAPWOOD_OUTCOME_PROMOTED || report.outcome == SAPWOOD_OUTCOME_REJECTED);
    CHECK(report.step == 4 && report.steps == 4 && report.examples > 0 && report.loss > 0);
    printf("a run of %u updates on %u examples: %s\n", report.steps, report.examples,
           report.summary);
}

struct found {
    const char *adapter;
    uint32_t state;
    uint32_t in_force;
};

static int32_t find(const sapwood_adapter_info *info, void *user) {
    struct found *found = user;
    if (strcmp(info->adapter, found->adapter) != 0) return 0;
    found->state = info->state;
    found->in_force = info->in_force;
    return 1;
}

static uint32_t state_of(sapwood_learner *learner, const char *adapter, uint32_t *in_force) {
    struct found found = {.adapter = adapter, .state = 99};
    OK(sapwood_adapters(learner, find, &found));
    *in_force = found.in_force;
    return found.state;
}

static void adapters(sapwood_learner *learner, const char *path) {
    FILE *file = fopen(path, "rb");
    CHECK(file != NULL);
    fseek(file, 0, SEEK_END);
    long length = ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(length);
    CHECK(fread(bytes, 1, length, file) == (size_t)length);
    fclose(file);

    char adapter[65], taken[65];
    uint32_t in_force;
    while (sapwood_rollback(learner, NULL) == SAPWOOD_OK) {} /* what training may have promoted */
    OK(sapwood_stage(learner, bytes, length, adapter));
    CHECK(state_of(learner, adapter, &in_force) == SAPWOOD_ADAPTER_STAGED && !in_force);
    OK(sapwood_activate(learner, adapter));
    CHECK(state_of(learner, adapter, &in_force) == SAPWOOD_ADAPTER_PROBATION && in_force);
    sapwood_reply reply = ask(learner, "Triage: I want my money back", 8);
    CHECK(strcmp(reply.adapter, adapter) == 0);
    sapwood_string_free(reply.text);
    OK(sapwood_rollback(learner, taken));
    CHECK(strcmp(taken, adapter) == 0);
    CHECK(state_of(learner, adapter, &in_force) == SAPWOOD_ADAPTER_ROLLED_BACK && !in_force);
    reply = ask(learner, "Triage: I want my money back", 8);
    CHECK(reply.adapter[0] == 0);
    sapwood_string_free(reply.text);
    CHECK(sapwood_stage(learner, bytes, length, adapter) == SAPWOOD_ADAPTER);
    CHECK(sapwood_rollback(learner, taken) == SAPWOOD_NOT_FOUND);
    CHECK(sapwood_stage(learner, bytes, 100, adapter) == SAPWOOD_ADAPTER);
    free(bytes);
}

static void forgetting(sapwood_learner *learner) {
    int before = 0, after = 0;
    OK(sapwood_samples(learner, count_all, &before));
    sapwood_reply reply = ask(learner, "Triage: please forget this", 8);
    sapwood_string_free(reply.text);
    sapwood_deletion_receipt receipt = {.size = sizeof receipt};
    OK(sapwood_forget(learner, SAPWOOD_SCOPE_REPLY, reply.id, 0, 0, &receipt));
    CHECK(receipt.replies == 1 && receipt.adapters == 0 && receipt.in_force[0] == 0);
    CHECK(receipt.erasure == SAPWOOD_ERASURE_DELETED);
    OK(sapwood_samples(learner, count_all, &after));
    CHECK(before > 1 && after == before);
    CHECK(sapwood_signal(learner, reply.id, SAPWOOD_SIGNAL_ACCEPTED, NULL, 0) == SAPWOOD_NOT_FOUND);
    OK(sapwood_forget(learner, SAPWOOD_SCOPE_TIME, NULL, 0, 1000, &receipt));
    CHECK(receipt.replies == 0);
    OK(sapwood_forget(learner, SAPWOOD_SCOPE_SURFACE, "mail", 0, 0, &receipt));
    CHECK(receipt.replies == 1);
    OK(sapwood_forget(learner, SAPWOOD_SCOPE_EVERYTHING, NULL, 0, 0, NULL));
    after = 0;
    OK(sapwood_samples(learner, count_all, &after));
    CHECK(after == 0);
    CHECK(sapwood_forget(learner, 9, NULL, 0, 0, NULL) == SAPWOOD_INVALID);
    CHECK(sapwood_forget(learner, SAPWOOD_SCOPE_REPLY, NULL, 0, 0, NULL) == SAPWOOD_INVALID);
    CHECK(sapwood_forget(learner, SAPWOOD_SCOPE_REPLY, "?", 0, 0, NULL) == SAPWOOD_INVALID);
    reply = ask(learner, "Triage: it crashes again", 8);
    sapwood_string_free(reply.text);
}

static void mistakes(sapwood_learner *learner, const char *folder) {
    sapwood_learner *other = NULL;
    sapwood_config config = {.size = sizeof config, .folder = folder, .key = KEY};
    char text[256], small[8];

    CHECK(sapwood_open(NULL, &other) == SAPWOOD_INVALID && other == NULL);
    CHECK(sapwood_open(&config, NULL) == SAPWOOD_INVALID);
    config.size = 0;
    CHECK(sapwood_open(&config, &other) == SAPWOOD_INVALID);
    CHECK(sapwood_last_error(text, sizeof text) > 0 && strstr(text, "size") != NULL);
    CHECK(sapwood_last_error(small, sizeof small) == strlen(text) && strlen(small) == 7);
    CHECK(sapwood_last_error(NULL, 0) == strlen(text));
    config.size = sizeof config;
    config.folder = NULL;
    CHECK(sapwood_open(&config, &other) == SAPWOOD_INVALID);
    config.folder = "\xff\xfe";
    CHECK(sapwood_open(&config, &other) == SAPWOOD_INVALID);
    config.folder = folder;
    config.key = NULL;
    CHECK(sapwood_open(&config, &other) == SAPWOOD_INVALID);
    uint8_t wrong[32] = {9};
    config.key = wrong;
    CHECK(sapwood_open(&config, &other) == SAPWOOD_KEY && other == NULL);
    config.key = KEY;
    config.model = "/nowhere/model.gguf";
    CHECK(sapwood_open(&config, &other) == SAPWOOD_MODEL);

    /* A header of a later version: what it sets beyond ours must be zero. */
    struct { sapwood_config known; uint64_t later; } newer = {.known = config, .later = 0};
    newer.known.model = NULL;
    newer.known.size = sizeof newer;
    char empty[512];
    snprintf(empty, sizeof empty, "%s-newer", folder);
    newer.known.folder = empty;
    OK(sapwood_open(&newer.known, &other));
    sapwood_close(other);
    newer.later = 1;
    CHECK(sapwood_open(&newer.known, &other) == SAPWOOD_INVALID);

    CHECK(sapwood_signal(NULL, "", SAPWOOD_SIGNAL_ACCEPTED, NULL, 0) == SAPWOOD_INVALID);
    CHECK(sapwood_signal(learner, NULL, SAPWOOD_SIGNAL_ACCEPTED, NULL, 0) == SAPWOOD_INVALID);
    CHECK(sapwood_signal(learner, "12", SAPWOOD_SIGNAL_ACCEPTED, NULL, 0) == SAPWOOD_INVALID);
    const char *unknown = "00000000000000000000000000000000";
    CHECK(sapwood_signal(learner, unknown, SAPWOOD_SIGNAL_ACCEPTED, NULL, 0) == SAPWOOD_NOT_FOUND);
    CHECK(sapwood_signal(learner, unknown, 77, NULL, 0) == SAPWOOD_INVALID);
    CHECK(sapwood_signal(learner, unknown, SAPWOOD_SIGNAL_EDITED, NULL, 0) == SAPWOOD_INVALID);
    CHECK(sapwood_set_consent(learner, 7) == SAPWOOD_INVALID);
    CHECK(sapwood_consent(learner, NULL) == SAPWOOD_INVALID);
    sapwood_device_state device = {.size = sizeof device, .thermal = 9};
    CHECK(sapwood_device_changed(learner, &device) == SAPWOOD_INVALID);
    device.size = 3;
    CHECK(sapwood_device_changed(learner, &device) == SAPWOOD_INVALID);
    CHECK(sapwood_device_changed(learner, NULL) == SAPWOOD_INVALID);
    CHECK(sapwood_activate(learner, "no digest") == SAPWOOD_INVALID);
    CHECK(sapwood_stage(learner, NULL, 0, text) == SAPWOOD_INVALID);
    CHECK(sapwood_train_slice(NULL, 0, NULL, NULL) == SAPWOOD_INVALID);
    CHECK(sapwood_adapters(learner, NULL, NULL) == SAPWOOD_INVALID);
    CHECK(sapwood_samples(NULL, NULL, NULL) == SAPWOOD_INVALID);

    sapwood_chat *chat = NULL;
    CHECK(sapwood_chat_open(learner, NULL, NULL, NULL, 0, &chat) == SAPWOOD_INVALID);
    CHECK(sapwood_chat_open(learner, "x", NULL, NULL, 1, &chat) == SAPWOOD_INVALID);
    sapwood_message turn = {.size = sizeof turn, .role = 9, .content = "x"};
    CHECK(sapwood_chat_open(learner, "x", NULL, &turn, 1, &chat) == SAPWOOD_INVALID && chat == NULL);
    OK(sapwood_chat_open(learner, "x", NULL, NULL, 0, &chat));
    sapwood_sampling bad = greedy(8);
    bad.top_p = 2;
    CHECK(sapwood_respond(chat, "x", &bad, NULL, NULL, NULL, NULL) == SAPWOOD_INVALID);
    CHECK(sapwood_respond(chat, NULL, NULL, NULL, NULL, NULL, NULL) == SAPWOOD_INVALID);
    CHECK(sapwood_respond(NULL, "x", NULL, NULL, NULL, NULL, NULL) == SAPWOOD_INVALID);
    CHECK(sapwood_regenerate(chat, NULL, NULL, NULL, NULL, NULL) == SAPWOOD_NOT_FOUND);
    size_t length = 100000;
    char *endless = malloc(length + 1);
    memset(endless, 'x', length);
    endless[length] = 0;
    CHECK(sapwood_respond(chat, endless, NULL, NULL, NULL, NULL, NULL) == SAPWOOD_TOO_LONG);
    free(endless);
    sapwood_sampling quiet = greedy(4);
    OK(sapwood_respond(chat, "Triage: it still works", &quiet, NULL, NULL, NULL, NULL));
    sapwood_chat_close(chat);

    sapwood_chat_close(NULL);
    sapwood_close(NULL);
    sapwood_stop_free(NULL);
    sapwood_string_free(NULL);
    CHECK(sapwood_stop_request(NULL) == SAPWOOD_INVALID);
}

int main(int count, char **arguments) {
    if (count != 3) {
        fprintf(stderr, "usage: loop FOLDER ADAPTER_FILE\n");
        return 2;
    }
    CHECK(sapwood_abi_version() == SAPWOOD_ABI_VERSION);
    sapwood_learner *learner = open_in(arguments[1]);
    uint32_t consent = 99;
    OK(sapwood_consent(learner, &consent));
    CHECK(consent == SAPWOOD_CONSENT_UNASKED);

    /* Without consent nothing is kept. */
    sapwood_reply reply = ask(learner, "Triage: it crashes", 4);
    OK(sapwood_signal(learner, reply.id, SAPWOOD_SIGNAL_ACCEPTED, NULL, 0));
    sapwood_string_free(reply.text);
    int seen = 0;
    OK(sapwood_samples(learner, stop_at_once, &seen));
    CHECK(seen == 0);

    OK(sapwood_set_consent(learner, SAPWOOD_CONSENT_GRANTED));
    OK(sapwood_set_retrieval(learner, 0));
    replies(learner);
    cancelled_prompts(learner);
    training(learner);
    adapters(learner, arguments[2]);
    forgetting(learner);
    mistakes(learner, arguments[1]);
    OK(sapwood_exit_was_benign(learner));
    OK(sapwood_flush(learner));
    sapwood_close(learner);

    /* What was kept is there again. */
    learner = open_in(arguments[1]);
    OK(sapwood_consent(learner, &consent));
    CHECK(consent == SAPWOOD_CONSENT_GRANTED);
    seen = 0;
    OK(sapwood_samples(learner, stop_at_once, &seen));
    CHECK(seen == 1);
    sapwood_close(learner);

    char other[512];
    snprintf(other, sizeof other, "%s-little", arguments[1]);
    little_memory(other);
    keys(arguments[1]);
    capture(arguments[1]);
    process(arguments[1]);
    printf("%d checks passed\n", checks);
    return 0;
}
