/*
 * The agent as a client of xenstore, through the kernel's /dev/xen/xenbus.  Keys are in the guest's own home.
 */
enum { XS_READ = 2, XS_WATCH = 4, XS_WRITE = 11, XS_WATCH_EVENT = 15 };

struct StoreMessage { u32 type, request, transaction, length; char body[4096]; };

/* Ask for something with `rest` behind the key; whether the kernel took it. */
static int ask_store(int store, u32 type, const char *key, const char *rest, u64 rest_length)
{
    static struct StoreMessage message;
    u64 length = length_of(key) + 1;
    message.type = type;
    message.length = (u32)(length + rest_length);
    memcpy(message.body, key, length);
    memcpy(message.body + length, rest, rest_length);
    return call3(SYS_write, store, &message, 16 + message.length) > 0;
}

/* Read the store's next message; whether there was one. */
static int hear_store(int store, struct StoreMessage *message)
{
    u8 *at = (u8 *)message;
    u64 have = 0, want = 16;
    while (have < want) {
        s64 n = call3(SYS_read, store, at + have, want - have);
        if (n == -EINTR)
            continue;
        if (n <= 0)
            return 0;
        have += (u64)n;
        if (have == 16 && want == 16) {
            if (message->length >= sizeof message->body)
                return 0;
            want += message->length;
        }
    }
    message->body[message->length] = 0;
    return 1;
}
