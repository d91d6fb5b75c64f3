/* Sapwood: a language model that learns from its user, on the device.
 *
 * Every call returns SAPWOOD_OK or another SAPWOOD_ status; sapwood_last_error() has the text. Calls
 * block until their work is done and may come from any thread. Texts are UTF-8 and end with NUL.
 * A struct begins with its size: set it to sizeof, and all you don't care about to 0. Handles and
 * returned texts go back once, with the matching _close or _free.
 *
 * Made from bindings/ffi/src/c by `cargo run -p sapwood-bindgen -- c bindings/c/include`.
 */

#ifndef SAPWOOD_H
#define SAPWOOD_H

#include <stddef.h>
#include <stdint.h>

// Version of this interface. It changes only when a program compiled against an older header
// would no longer work.
#define SAPWOOD_ABI_VERSION 1

// Done.
#define SAPWOOD_OK 0

// The call was made with a value that it does not take: correct the program.
#define SAPWOOD_INVALID 1

// Prompt and reply don't fit the context.
#define SAPWOOD_TOO_LONG 2

// No reply or adapter has this id any more, or there is nothing to go back to.
#define SAPWOOD_NOT_FOUND 3

// Something else is under way, or the key store can't be used now: wait for it, or try again.
#define SAPWOOD_BUSY 4

// The model file can't be used.
#define SAPWOOD_MODEL 5

// The adapter can't be used: the model stays as it is.
#define SAPWOOD_ADAPTER 6

// The store was sealed with another key, its key is gone for good, or it is damaged throughout.
#define SAPWOOD_KEY 7

// The disk is full or failing, the folder can't be used, or a later version wrote it.
#define SAPWOOD_STORAGE 8

// A bug of the library: close the learner and open it again.
#define SAPWOOD_FAULT 9

// A key provider's answer: done. What is none of SAPWOOD_KEYS_ is a mistake of the program, and
// the call that asked fails with SAPWOOD_INVALID. No answer ever wipes anything.
#define SAPWOOD_KEYS_DONE 0

// Not now: the device is locked, or its key store is busy. The call that asked fails with
// SAPWOOD_BUSY, and works later.
#define SAPWOOD_KEYS_UNAVAILABLE 1

// Never again: the key was destroyed, or belongs to another device. The call that asked fails with
// SAPWOOD_KEY.
#define SAPWOOD_KEYS_PERMANENT 2

// The user or the system refused. The call that asked fails with SAPWOOD_BUSY.
#define SAPWOOD_KEYS_DENIED 3

// Room for a wrapped secret, in bytes.
#define SAPWOOD_WRAPPED_BYTES 4096

// Where each kind of work is faster, if the library was built with GPU support; else the processor.
#define SAPWOOD_DEVICE_AUTO 0

// The processor.
#define SAPWOOD_DEVICE_CPU 1

// The GPU, even one that the processor emulates; without one, opening fails.
#define SAPWOOD_DEVICE_GPU 2

// Cool.
#define SAPWOOD_THERMAL_NOMINAL 0

// Warm; nothing is throttled yet.
#define SAPWOOD_THERMAL_FAIR 1

// Hot: the system slows down.
#define SAPWOOD_THERMAL_SERIOUS 2

// Too hot.
#define SAPWOOD_THERMAL_CRITICAL 3

// Under a second name for the same bytes, which takes no room: for a file that the program itself
// has downloaded. It is read-only then under its old name too. Where that can't be, it is copied.
#define SAPWOOD_TAKE_LINK 0

// By copying it: for a file that belongs to somebody else.
#define SAPWOOD_TAKE_COPY 1

// The user changed the reply before using it; `text` is what they made of it, whole.
#define SAPWOOD_SIGNAL_EDITED 0

// The user used the reply as it stands.
#define SAPWOOD_SIGNAL_ACCEPTED 1

// The user copied the whole reply.
#define SAPWOOD_SIGNAL_COPIED 2

// The user copied a part of the reply.
#define SAPWOOD_SIGNAL_COPIED_PART 3

// Thumb up.
#define SAPWOOD_SIGNAL_RATED_GOOD 4

// Thumb down.
#define SAPWOOD_SIGNAL_RATED_BAD 5

// The user asked for another reply in its place; `text` is that one's id. `sapwood_regenerate`
// tells this by itself.
#define SAPWOOD_SIGNAL_REGENERATED 6

// The user stopped the reply after `shown_tokens`.
#define SAPWOOD_SIGNAL_STOPPED 7

// The user asked the same in other words; `text` is the id of the reply to that.
#define SAPWOOD_SIGNAL_REPHRASED 8

// The user left without using the reply.
#define SAPWOOD_SIGNAL_ABANDONED 9

// The user changed the reply before using it, and what they made of it is private: that there was
// an edit is kept, and no text.
#define SAPWOOD_SIGNAL_EDITED_PRIVATELY 10

// Nobody asked the user yet: nothing is stored.
#define SAPWOOD_CONSENT_UNASKED 0

// Replies and signals are stored, sealed, on this device.
#define SAPWOOD_CONSENT_GRANTED 1

// Nothing is stored, shown to the model, or trained on, and the base model answers.
#define SAPWOOD_CONSENT_REFUSED 2

// Nothing was done; `holds` says why.
#define SAPWOOD_OUTCOME_WAITING 0

// The next slice goes on. With no `holds`, time was over or a stop was asked for; otherwise the
// device ended it.
#define SAPWOOD_OUTCOME_PAUSED 1

// A new adapter is in force, on probation.
#define SAPWOOD_OUTCOME_PROMOTED 2

// A new adapter was made and was not good enough.
#define SAPWOOD_OUTCOME_REJECTED 3

// Nothing fails more often than usual.
#define SAPWOOD_HOLD_NO_NEED (1 << 0)

// Too little to learn from.
#define SAPWOOD_HOLD_FEW_EXAMPLES (1 << 1)

// The examples come from too few conversations.
#define SAPWOOD_HOLD_FEW_CONVERSATIONS (1 << 2)

// It trained a short while ago.
#define SAPWOOD_HOLD_COOLDOWN (1 << 3)

// Not on external power.
#define SAPWOOD_HOLD_NOT_CHARGING (1 << 4)

// Somebody is using the device.
#define SAPWOOD_HOLD_IN_USE (1 << 5)

// Too little charge.
#define SAPWOOD_HOLD_LOW_BATTERY (1 << 6)

// The user asked the system to save power.
#define SAPWOOD_HOLD_LOW_POWER_MODE (1 << 7)

// The device is hot.
#define SAPWOOD_HOLD_TOO_HOT (1 << 8)

// Training takes more memory than there is for it.
#define SAPWOOD_HOLD_TOO_LITTLE_MEMORY (1 << 9)

// The last slices were killed: it waits longer each time.
#define SAPWOOD_HOLD_AFTER_KILLS (1 << 10)

// The user refused to be learned from.
#define SAPWOOD_HOLD_REFUSED (1 << 11)

// The app: standing instructions.
#define SAPWOOD_ROLE_SYSTEM 0

// The person.
#define SAPWOOD_ROLE_USER 1

// The model.
#define SAPWOOD_ROLE_ASSISTANT 2

// The model ended it.
#define SAPWOOD_STOP_END 0

// It reached max_tokens.
#define SAPWOOD_STOP_LENGTH 1

// It was cancelled.
#define SAPWOOD_STOP_CANCELLED 2

// It met a stop text of the app.
#define SAPWOOD_STOP_TEXT 3

// Kept and checked, not in use.
#define SAPWOOD_ADAPTER_STAGED 0

// In use on trial: it is taken back when replies get worse.
#define SAPWOOD_ADAPTER_PROBATION 1

// In use.
#define SAPWOOD_ADAPTER_ACTIVE 2

// What was in use before: the way back.
#define SAPWOOD_ADAPTER_FALLBACK 3

// Given up for a better one.
#define SAPWOOD_ADAPTER_RETIRED 4

// Taken back for good.
#define SAPWOOD_ADAPTER_ROLLED_BACK 5

// Taken back because what it learned from is to be forgotten.
#define SAPWOOD_ADAPTER_REVOKED 6

// Made for another model, and back when that one is.
#define SAPWOOD_ADAPTER_DORMANT 7

// One reply with its request and signals: `name` is its id.
#define SAPWOOD_SCOPE_REPLY 0

// A conversation: `name` is as in sapwood_sample.
#define SAPWOOD_SCOPE_CONVERSATION 1

// All that happened in one part of the app: `name` is its name.
#define SAPWOOD_SCOPE_SURFACE 2

// All from `from_ms` on and before `until_ms`.
#define SAPWOOD_SCOPE_TIME 3

// Everything.
#define SAPWOOD_SCOPE_EVERYTHING 4

// The bytes are still there, sealed: the key store, the disk or another process stood in the way.
// The next training slice or request to forget tries again.
#define SAPWOOD_ERASURE_PENDING 0

// The bytes were deleted. With the key or the passphrase of the configuration and old copies of the
// folder they could be read. A sapwood_key_provider does better.
#define SAPWOOD_ERASURE_DELETED 1

// The key of the bytes was destroyed: copies of them are noise.
#define SAPWOOD_ERASURE_SHREDDED 2

// Records what the user does, without a model: for a process that has neither the memory nor the
// time for one. Any number of them may do so beside the one that has the learner.
typedef struct sapwood_capture sapwood_capture;

// A conversation. One reply at a time.
typedef struct sapwood_chat sapwood_chat;

// A model that learns from its user: one per folder.
typedef struct sapwood_learner sapwood_learner;

// Asks a slice or a reply to end early. One may serve many.
typedef struct sapwood_stop sapwood_stop;

// What the device must be like for training, and how much of it training may take. Begin with
// `sapwood_idle_policy_init`.
typedef struct {
  // sizeof(sapwood_idle_policy)
  uint32_t size;
  // 0: also on battery.
  uint32_t need_charging;
  // 0: also while somebody uses the device.
  uint32_t need_idle;
  // Not below this charge, where it is known.
  uint32_t least_battery_percent;
  // Not when it is hotter: one of SAPWOOD_THERMAL_.
  uint32_t hottest;
  // Most memory that training may take beside the model's file; 0: half of `free_memory_bytes`,
  // if that is known. A slice that would take more does not begin.
  uint64_t memory_bytes;
  // Share of one core, unless the device is charging and cool. Above 0; 2 is two cores.
  double cpu_share;
  // Rest after the second slice in a row that was killed; four times as long after each further
  // one, a day at most.
  uint64_t back_off_ms;
} sapwood_idle_policy;

// When and how a learner trains. 0 stands for the default wherever no other meaning is named.
typedef struct {
  // sizeof(sapwood_training)
  uint32_t size;
  // Examples that one kind of request needs before it is worth a run; 0: 12.
  uint32_t examples;
  // Conversations that they come from, at least; 0: 2.
  uint32_t conversations;
  // Most updates in a run; 0: 200.
  uint32_t steps;
  // Examples per update; 0: 8.
  uint32_t batch;
  // Rank of the adapter, 1 to 256; 0: 8.
  uint32_t rank;
  // Peak learning rate; 0: 0.001.
  float learning_rate;
  // Updates between two checkpoints; 0: 10.
  uint32_t checkpoint_steps;
  // Not 0: replies have one right text (labels, JSON), and a candidate is held to it.
  uint32_t exact;
  // Not 0: no rest between two runs.
  uint32_t no_cooldown;
  // Rest between two runs in milliseconds; 0: a day.
  uint64_t cooldown_ms;
  // Most times that a run sees one example; 0: 3.
  uint32_t passes;
} sapwood_training;

// A key store of the program's: a TPM, a secure element, the system's. Each epoch has a key of its
// own there; what is forgotten is shredded by destroying the key of an epoch that was left.
//
// The struct is copied. `user` stays the program's and has to live until the learner and all its
// conversations are closed, or until `sapwood_open` has failed. The functions are called on the
// thread of the call that needs them, from any thread, for two learners also at once; never while
// a reply is computed. They must not call the learner, jump or throw out. What they are handed is
// gone when they return, and they must keep no copy of a secret. They return one of
// SAPWOOD_KEYS_. None may be NULL.
typedef struct {
  // sizeof(sapwood_key_provider)
  uint32_t size;
  // Handed to each function.
  void *user;
  // Makes the key of an epoch, in place of one of that number that a crash may have left.
  int32_t (*create_epoch)(uint64_t epoch, void *user);
  // Seals the 32 bytes of `secret` under the key of an epoch, so that they open as that epoch's
  // only. Writes at most SAPWOOD_WRAPPED_BYTES to `wrapped` and their number to `length`.
  int32_t (*wrap)(uint64_t epoch,
                  const uint8_t *secret,
                  uint8_t *wrapped,
                  size_t *length,
                  void *user);
  // Opens the `length` bytes that `wrap` made for the same epoch, and writes 32 to `secret`.
  // Without its key, or if they were changed: SAPWOOD_KEYS_PERMANENT.
  int32_t (*unwrap)(uint64_t epoch,
                    const uint8_t *wrapped,
                    size_t length,
                    uint8_t *secret,
                    void *user);
  // Destroys the key of an epoch for good; if there is none, it is done. A receipt says
  // SAPWOOD_ERASURE_SHREDDED on its word.
  int32_t (*destroy_epoch)(uint64_t epoch, void *user);
} sapwood_key_provider;

// Everything a learner is opened with: a folder, and one of `key`, `passphrase` and
// `key_provider` to seal it. Set the rest to 0 for the defaults.
typedef struct {
  // sizeof(sapwood_config)
  uint32_t size;
  // Most tokens of prompt and reply together; 0: 2048.
  uint32_t context_tokens;
  // Folder of all that is kept; made if it is absent. Keep it out of backups.
  const char *folder;
  // 32 random bytes, the same every time; or NULL. Keep them secret, outside the folder.
  const uint8_t *key;
  // A GGUF model file; NULL: the model in the library.
  const char *model;
  // Compute threads; 0: one per core.
  uint32_t threads;
  // Not 0: past exchanges are not shown to the model again.
  uint32_t no_retrieval;
  // When and how it trains; NULL: the defaults.
  const sapwood_training *training;
  // What the device must be like for it; NULL: the defaults.
  const sapwood_idle_policy *idle;
  // How long what the user did is kept, in milliseconds, twelve hours at least; 0: 90 days. What
  // was learned from it stays.
  uint64_t keep_ms;
  // Most bytes of it on disk: beyond, the oldest goes; 0: 32 MiB.
  uint64_t keep_bytes;
  // What somebody types, for desktops and tests; or NULL.
  const char *passphrase;
  // The platform's key store; or NULL. Only with it can what was forgotten be shredded.
  const sapwood_key_provider *key_provider;
  // Where the model computes: one of SAPWOOD_DEVICE_.
  uint32_t device;
} sapwood_config;

// The device as the program sees it now. All 0: a device on battery that is in use.
typedef struct {
  // sizeof(sapwood_device_state)
  uint32_t size;
  // Not 0: on external power.
  uint32_t charging;
  // Not 0: nobody is using the device.
  uint32_t idle;
  // Not 0: the user asked the system to save power.
  uint32_t low_power_mode;
  // One of SAPWOOD_THERMAL_.
  uint32_t thermal;
  // Charge of the battery, 1 to 100; 0: unknown, or there is none.
  uint32_t battery_percent;
  // What the system would let the process take in addition; 0: unknown.
  uint64_t free_memory_bytes;
  // Not 0: the GPU may not be used now; work goes on with the processor.
  uint32_t gpu_forbidden;
} sapwood_device_state;

// What a slice did. Set `size` before the call.
typedef struct {
  // sizeof(sapwood_slice_report)
  uint32_t size;
  // What it came to: one of SAPWOOD_OUTCOME_.
  uint32_t outcome;
  // What speaks against training: SAPWOOD_HOLD_ bits.
  uint32_t holds;
  // Updates that the run has made, in all slices.
  uint32_t step;
  // Updates that the run takes.
  uint32_t steps;
  // Examples that the run learns from.
  uint32_t examples;
  // Tokens trained on in this slice.
  uint64_t tokens;
  // Milliseconds spent training in this slice.
  uint64_t train_ms;
  // Mean loss of the last update; 0 before the first.
  float loss;
  // The adapter that was promoted, or empty.
  char adapter[65];
  // What it came to, in one English line with figures, for logs and developers.
  char summary[256];
  // Examples that the run can't learn from: too long for the context, or refused by the template.
  uint32_t left_out;
} sapwood_slice_report;

// One turn of a conversation.
typedef struct {
  // sizeof(sapwood_message)
  uint32_t size;
  // One of SAPWOOD_ROLE_.
  uint32_t role;
  // What is said.
  const char *content;
} sapwood_message;

// How one reply is made. Begin with `sapwood_sampling_init`.
typedef struct {
  // sizeof(sapwood_sampling)
  uint32_t size;
  // 0 is greedy: always the likeliest token.
  float temperature;
  // Keep the k likeliest tokens; 0 keeps all.
  uint32_t top_k;
  // Keep the shortest list that holds this much probability; 1 keeps all.
  float top_p;
  // Keep tokens with at least this share of the likeliest one's probability; 0 keeps all.
  float min_p;
  // Makes recent tokens less likely; 1 does nothing.
  float repetition_penalty;
  // The same seed draws the same reply.
  uint64_t seed;
  // Most tokens of the reply.
  uint32_t max_tokens;
  // 0: the turn is private, request and reply. It is not kept and can't be signalled. Later
  // turns quote it in their prompt, so nothing is kept of this conversation any more: begin a
  // new one for what may be.
  uint32_t record;
} sapwood_sampling;

// Takes text as it comes: whole characters, NUL-terminated, gone when it returns. Any value but 0
// cancels the reply. Called on the thread of `sapwood_respond`, with no lock held, so it may call
// the library; it must not jump or throw out.
typedef int32_t (*sapwood_on_text)(const char *text, void *user);

// A finished reply. Set `size` before the call; give `text` back with `sapwood_string_free`.
typedef struct {
  // sizeof(sapwood_reply)
  uint32_t size;
  // Why it ended: one of SAPWOOD_STOP_.
  uint32_t stop;
  // The whole text.
  char *text;
  // Tokens of the prompt, with the examples shown.
  uint32_t prompt_tokens;
  // Tokens of the reply.
  uint32_t tokens;
  // Past exchanges that were shown to the model.
  uint32_t retrieved;
  // Names the reply in `sapwood_signal`.
  char id[33];
  // The adapter that made it; empty: the base model.
  char adapter[65];
  // 1 if it was recorded, so that signals can refer to it. It is not without consent, off the
  // record, in a conversation that quotes what was forgotten, and where the disk is full or fails.
  uint32_t kept;
} sapwood_reply;

// A reply that was shown in a process without a model.
typedef struct {
  // sizeof(sapwood_shown)
  uint32_t size;
  // The part of the app, as for `sapwood_chat_open`.
  const char *surface;
  // The conversation; the last turn is the user's request.
  const sapwood_message *turns;
  // Turns that there are.
  size_t count;
  // The reply.
  const char *reply;
  // The program's standing instructions; may be NULL.
  const char *instructions;
  // Names the conversation: 32 hexadecimal digits that no other one has, as a UUID's. NULL: one
  // of its own.
  const char *conversation;
  // The adapter that made it, as its sapwood_reply named it; NULL or empty: the base model.
  const char *adapter;
} sapwood_shown;

// One adapter.
typedef struct {
  // The size of this struct in the library.
  uint32_t size;
  // Where it stands: one of SAPWOOD_ADAPTER_.
  uint32_t state;
  // Counted from 1 in this store.
  uint64_t number;
  // When it was made, in milliseconds since 1970.
  uint64_t created_ms;
  // Examples that it learned from.
  uint32_t examples;
  // 1: new replies are made with it.
  uint32_t in_force;
  // SHA-256 of its file, which names it everywhere.
  char adapter[65];
  // The adapter that training started from; empty: from the base model.
  char parent[65];
} sapwood_adapter_info;

// Takes one adapter; it is gone when this returns. Any value but 0 ends the listing.
typedef int32_t (*sapwood_on_adapter)(const sapwood_adapter_info *adapter, void *user);

// One reply that is kept, with what the user did. All texts are gone when the callback returns.
typedef struct {
  // The size of this struct in the library.
  uint32_t size;
  // Signals that there are on it.
  uint32_t signals;
  // When, in milliseconds since 1970.
  uint64_t time_ms;
  // The part of the app.
  const char *surface;
  // What was asked: the last turn of the user.
  const char *request;
  // What the model answered.
  const char *reply;
  // What the user made of it; NULL: they did not edit it.
  const char *edited;
  // Names the reply.
  char reply_id[33];
  // Names the conversation.
  char conversation[33];
  // The adapter that answered; empty: the base model.
  char adapter[65];
} sapwood_sample;

// Takes one sample; it is gone when this returns. Any value but 0 ends the listing.
typedef int32_t (*sapwood_on_sample)(const sapwood_sample *sample, void *user);

// What was forgotten. Set `size` before the call.
typedef struct {
  // sizeof(sapwood_deletion_receipt)
  uint32_t size;
  // Replies that are gone, with their requests and signals.
  uint32_t replies;
  // Adapters that learned from them, or from an adapter that did: gone, and refused for good.
  uint32_t adapters;
  // 1: a training run was dropped.
  uint32_t run_dropped;
  // One of SAPWOOD_ERASURE_.
  uint32_t erasure;
  // The adapter that new replies are made with now; empty: the base model.
  char in_force[65];
} sapwood_deletion_receipt;

// What was exported. Set `size` before the call.
typedef struct {
  // sizeof(sapwood_exported)
  uint32_t size;
  // Replies in turns.json.
  uint32_t turns;
  // Files in adapters/.
  uint32_t adapters;
  // Records that only a later version of the library can read; they are not among the turns.
  uint32_t unreadable_records;
} sapwood_exported;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The library's SAPWOOD_ABI_VERSION: a program compares it with the header's at its start.
uint32_t sapwood_abi_version(void);

// Copies what went wrong in this thread's last failed call to `text`, NUL-terminated and cut to
// `capacity` bytes. Returns the length of the whole text. `text` may be NULL if `capacity` is 0.
// The text is English, for developers, and never holds anything of the user's.
size_t sapwood_last_error(char *text, size_t capacity);

// Fills in the defaults.
int32_t sapwood_idle_policy_init(sapwood_idle_policy *policy);

// Brings the GGUF file at `source` into `folder` (a folder for models alone), named by its digest,
// read-only, durable when this returns. `take` is one of SAPWOOD_TAKE_. It is read whole, so this
// takes a while. What is there already is left alone if it is whole. `path` gets what
// sapwood_config.model should say; give it back with `sapwood_string_free`. Opening it later
// notices whether anybody has written to it.
int32_t sapwood_import_model(const char *source, const char *folder, uint32_t take, char **path);

// Opens the model and the folder, recovers from whatever happened to the last process, and puts
// the right adapter in force. End it with `sapwood_close`.
int32_t sapwood_open(const sapwood_config *config, sapwood_learner **learner);

// Makes everything durable and ends the learner; its conversations may be closed later. NULL is no
// learner.
void sapwood_close(sapwood_learner *learner);

// Says what the user did with a reply: `kind` is one of SAPWOOD_SIGNAL_, which says whether `text`
// and `shown_tokens` matter (NULL and 0 otherwise). Without consent this does nothing.
int32_t sapwood_signal(const sapwood_learner *learner,
                       const char *reply_id,
                       uint32_t kind,
                       const char *text,
                       uint32_t shown_tokens);

// Allows or stops keeping what the user does, and using what was kept and learned: one of
// SAPWOOD_CONSENT_. Durable when it returns; a refusal holds at once, also where the disk has no
// room to write it.
int32_t sapwood_set_consent(const sapwood_learner *learner, uint32_t consent);

// Whether what the user does is kept: one of SAPWOOD_CONSENT_.
int32_t sapwood_consent(const sapwood_learner *learner, uint32_t *consent);

// Tells how the device is: at every change, from any thread. It trains only when the device is
// plugged in, idle and cool.
int32_t sapwood_device_changed(const sapwood_learner *learner, const sapwood_device_state *state);

// Switches the showing of past exchanges on (not 0) or off for all later replies.
int32_t sapwood_set_retrieval(const sapwood_learner *learner, uint32_t enabled);

// Says that the last process ended for a reason that was not the adapter's fault: its interrupted
// trial is then not counted.
int32_t sapwood_exit_was_benign(const sapwood_learner *learner);

// Says that the program stays with this model: adapters of other ones, which were laid to rest
// when it came, are deleted.
int32_t sapwood_confirm_base(const sapwood_learner *learner);

// Makes everything durable.
int32_t sapwood_flush(const sapwood_learner *learner);

// A request that nobody has made yet. Give it back with `sapwood_stop_free`.
sapwood_stop *sapwood_stop_new(void);

// Asks for the stop, from any thread. It can't be taken back.
int32_t sapwood_stop_request(const sapwood_stop *stop);

// Gives a stop back; a slice or a reply that still has it goes on. NULL is no stop.
void sapwood_stop_free(sapwood_stop *stop);

// Trains for at most `budget_ms`, or judges the run that has ended: the only call that trains.
// Returns early when there is nothing to do or when `stop` (may be NULL) is requested. Replies go
// on meanwhile, from other threads. Whatever happens to the process, the next slice goes on from
// the last checkpoint. `report` may be NULL.
int32_t sapwood_train_slice(const sapwood_learner *learner,
                            uint64_t budget_ms,
                            const sapwood_stop *stop,
                            sapwood_slice_report *report);

// Begins a conversation on a surface of the app ("mail.reply"), with standing instructions
// (may be NULL) and the `count` turns so far (NULL for none). End it with `sapwood_chat_close`.
int32_t sapwood_chat_open(const sapwood_learner *learner,
                          const char *surface,
                          const char *instructions,
                          const sapwood_message *turns,
                          size_t count,
                          sapwood_chat **chat);

// Ends a conversation. NULL is no conversation.
void sapwood_chat_close(sapwood_chat *chat);

// Fills in the defaults.
int32_t sapwood_sampling_init(sapwood_sampling *sampling);

// Makes a reply to `prompt` and returns when it is finished. `sampling` may be NULL for the
// defaults, `on_text` if nobody wants to see it come, `reply` if nobody wants it whole. `user` is
// handed to `on_text`. `stop` (may be NULL) cancels the reply from any thread, also while a long
// prompt is read. A reply that is cancelled before its first token leaves the conversation as it
// was, and is not kept.
int32_t sapwood_respond(const sapwood_chat *chat,
                        const char *prompt,
                        const sapwood_sampling *sampling,
                        const sapwood_stop *stop,
                        sapwood_on_text on_text,
                        void *user,
                        sapwood_reply *reply);

// Makes another reply in place of the last one, and records that it was wanted. As
// `sapwood_respond` for the rest.
int32_t sapwood_regenerate(const sapwood_chat *chat,
                           const sapwood_sampling *sampling,
                           const sapwood_stop *stop,
                           sapwood_on_text on_text,
                           void *user,
                           sapwood_reply *reply);

// Opens the folder of a configuration with its keys, for recording alone; nothing else of it
// matters. End it with `sapwood_capture_close`.
int32_t sapwood_capture_open(const sapwood_config *config, sapwood_capture **capture);

// Makes everything durable and ends the capture. NULL is no capture.
void sapwood_capture_close(sapwood_capture *capture);

// Whether anything may be kept, as the user last said in any process: one of SAPWOOD_CONSENT_.
int32_t sapwood_capture_consent(const sapwood_capture *capture, uint32_t *consent);

// Records a reply that was shown. `reply_id` has room for 33 characters and gets its id, to which
// signals refer; an empty one without consent, or if something of its conversation was forgotten:
// nothing is stored then.
int32_t sapwood_capture_reply(const sapwood_capture *capture,
                              const sapwood_shown *shown,
                              char *reply_id);

// Says what the user did with a reply, recorded here or elsewhere, as `sapwood_signal`.
int32_t sapwood_capture_signal(const sapwood_capture *capture,
                               const char *reply_id,
                               uint32_t kind,
                               const char *text,
                               uint32_t shown_tokens);

// Makes everything durable: before the process may be suspended.
int32_t sapwood_capture_flush(const sapwood_capture *capture);

// Hands all adapters known to `on_adapter`, oldest first, with those that are gone.
int32_t sapwood_adapters(const sapwood_learner *learner, sapwood_on_adapter on_adapter, void *user);

// Keeps an adapter file (GGUF, made for this model elsewhere) without using it. `adapter` has room
// for 65 characters and gets its digest.
int32_t sapwood_stage(const sapwood_learner *learner,
                      const uint8_t *file,
                      size_t length,
                      char *adapter);

// Puts a staged adapter in force on probation.
int32_t sapwood_activate(const sapwood_learner *learner, const char *adapter);

// Refuses an adapter for good, in force or not, known here or not: the program's maker has heard
// that it is bad.
int32_t sapwood_refuse(const sapwood_learner *learner, const char *adapter);

// Takes the adapter in force back for good. `adapter` has room for 65 characters and gets its
// digest; it may be NULL. The one before, or the base model, is in force from the next reply on.
int32_t sapwood_rollback(const sapwood_learner *learner, char *adapter);

// Hands all replies that are kept to `on_sample`, oldest first.
int32_t sapwood_samples(const sapwood_learner *learner, sapwood_on_sample on_sample, void *user);

// Forgets for good: replies, what the user did with them, every adapter that learned from one and
// all that were trained on top of it, the training run that sees them. `scope` is one of
// SAPWOOD_SCOPE_, which says whether `name` and the times (milliseconds since 1970) matter. It ends
// a slice that is running. `receipt` may be NULL.
int32_t sapwood_forget(const sapwood_learner *learner,
                       uint32_t scope,
                       const char *name,
                       uint64_t from_ms,
                       uint64_t until_ms,
                       sapwood_deletion_receipt *receipt);

// Writes all that is kept into a new or empty folder, for the user to read: turns.json,
// adapters.json and the adapters as GGUF files. Nothing in there is sealed: protect it, hand it
// over, remove it. `exported` may be NULL.
int32_t sapwood_export(const sapwood_learner *learner,
                       const char *folder,
                       sapwood_exported *exported);

// Gives back a text that the library returned. NULL is no text.
void sapwood_string_free(char *text);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* SAPWOOD_H */
