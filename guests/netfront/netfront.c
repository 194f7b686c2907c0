/* A network frontend that behaves, and one that does not.
 *
 * "echo": send every frame back to where it came from, until a key is pressed; its memory must stay what it is.
 * "measure": how long a frame and its echo take, and how many are sent while nobody waits for an echo.
 * "attack N": do to its own card's backend what could reach domain N, or harm the backend, and print of each attempt
 * what came of it. */
#include "netfront.h"

#define SHORT 60
#define WHILE 5000000000ul      /* ns in which an echo comes */
#define CANARIES 300

static struct card card;
static u8 *page;                /* granted as `ref` */
static u32 ref;

static void tell(const char *name, int yes) { printf("%s: %s\n", name, yes ? "yes" : "no"); }

static void say(const char *name, long result)
{
    printf("%s: %s\n", name, result > 0 ? "a frame" : result == OKAY ? "okay" : result == ERROR ? "error"
                             : result == NO_ANSWER ? "nothing" : "nonsense");
}

static void fill(u8 *at, u64 seed)
{
    for (u64 i = 0; i < PAGE / 8; i++)
        ((u64 *)at)[i] = (seed + 1) * 0x9e3779b97f4a7c15ul + i * 0x0101010101010101ul;
}

/* --- the one that behaves */

static void echo(void)
{
    static u8 *canary[CANARIES], expected[PAGE] aligned(8), address[6];
    u8 *data;
    for (u64 i = 0; i < CANARIES; i++)
        fill(canary[i] = page_alloc(), i);
    printf("ready\n");
    while (console_read() != 'q') {
        long length = receive(&card, 1000000, &data);
        if (length == NO_ANSWER)
            continue;
        memcpy(page, data, length);
        post_buffer(&card);
        memcpy(address, page, 6);
        memcpy(page, page + 6, 6);
        memcpy(page + 6, address, 6);
        send(&card, ref, length);
    }
    int good = 1;
    for (u64 i = 0; i < CANARIES; i++) {
        fill(expected, i);
        good = good && !memcmp(canary[i], expected, PAGE);
    }
    tell("whole", good);
    tell("closed", card_close(&card));
}

/* --- the one that measures */

#define ROUNDS 20000

static void measure(void)
{
    u8 *data;
    fill(page, 1);
    page[0] = page[6] = 2;
    u64 began = now();
    for (int i = 0; i < ROUNDS; i++) {
        send(&card, ref, SHORT);
        receive(&card, WHILE, &data);
        post_buffer(&card);
    }
    printf("a frame and its echo: %lu ns\n", (now() - began) / ROUNDS);
    began = now();
    for (int i = 0; i < ROUNDS; i++)
        send(&card, ref, SHORT);
    printf("a frame that is sent: %lu ns\n", (now() - began) / ROUNDS);
    began = now();
    for (int i = 0; i < ROUNDS; i++)
        send(&card, ref, PAGE);
    printf("a page that is sent: %lu ns\n", (now() - began) / ROUNDS);
}

/* --- the attacker */

/* Whether a frame is sent, and its echo comes into the next page that was posted. */
static long sent_and_echoed(u64 seed, u8 **data)
{
    fill(page, seed);
    page[0] = page[6] = 2;
    return send(&card, ref, SHORT) == OKAY ? receive(&card, WHILE, data) : ERROR;
}

static void honest(const char *name)
{
    static u64 seed;
    u8 *data;
    long length = sent_and_echoed(++seed, &data);
    tell(name, length == SHORT && !memcmp(data + 12, page + 12, SHORT - 12) && !memcmp(data, page + 6, 6));
    post_buffer(&card);
}

static void send_from(u16 other)
{
    u8 *own = page_alloc();
    u64 mfn = virt_to_mfn(own);
    u32 attempt = grant(mfn, GRANT_READ_ONLY, 0);
    fill(own, 77);
    own[0] = 3;                 /* a group's, which nobody echoes but the other card */
    say("from a read-only grant", send(&card, attempt, SHORT));
    u8 *data;
    receive(&card, WHILE, &data);
    post_buffer(&card);
    tell("taken back", grant_end(attempt));
    say("from what was taken back", send(&card, attempt, SHORT));
    grant_again(attempt, mfn, GRANT_WRITABLE, other);
    say("from a grant for the other domain", send(&card, attempt, SHORT));
    grant_again(attempt, mfn, GRANT_WRITABLE, DOMID_SELF);
    say("from a grant for DOMID_SELF", send(&card, attempt, SHORT));
    grant_end(attempt);
    u32 reached = 0, tried = 0;
    for (u32 i = 0; i < 2 * NR_REFS; i++)
        if (i >= NR_REFS || !grants[i].flags)
            reached += send(&card, i, SHORT) == OKAY;
    printf("references that were not granted: %u reached\n", reached);
    reached = 0;
    u64 last = hypercall(memory_op, XENMEM_maximum_ram_page, 0);
    for (u64 other_mfn = 0; other_mfn <= last + 64; other_mfn++) {
        u64 pfn = other_mfn <= last ? mfn_to_pfn(other_mfn) : ~0ul;
        if (pfn < start_info->nr_pages && pfn_to_mfn(pfn) == other_mfn)
            continue;
        grant_again(attempt, other_mfn, GRANT_READ_ONLY, 0);
        reached += send(&card, attempt, SHORT) == OKAY;
        tried++;
    }
    grant_end(attempt);
    tell("frames of others were tried", tried > 1000);
    printf("frames of others: %u reached\n", reached);
}

/* A page that the backend is to fill, posted where the next frame goes: it is behind those that are there. */
static long filled(u32 attempt)
{
    u8 *data;
    long result = NO_ANSWER;
    post(&card, attempt);
    for (int i = 0; i <= NR_BUFFERS; i++) {
        result = sent_and_echoed(500 + i, &data);
        if (i < NR_BUFFERS)
            post_buffer(&card);
    }
    return result;
}

static void receive_into(u16 other)
{
    u8 *own = page_alloc();
    u64 mfn = virt_to_mfn(own);
    u32 attempt = grant(mfn, GRANT_READ_ONLY, 0);
    memset(own, 0xee, PAGE);
    say("into a read-only grant", filled(attempt));
    grant_end(attempt);
    say("into what was taken back", filled(attempt));
    grant_again(attempt, mfn, GRANT_WRITABLE, other);
    say("into a grant for the other domain", filled(attempt));
    grant_again(attempt, l4_mfn(), GRANT_WRITABLE, 0);
    say("into the L4", filled(attempt));
    grant_again(attempt, hypercall(memory_op, XENMEM_maximum_ram_page, 0) + 5, GRANT_WRITABLE, 0);
    say("into no frame", filled(attempt));
    grant_end(attempt);
    tell("untouched by all that", own[0] == 0xee && own[SHORT] == 0xee);
}

static void survivable(void)
{
    say("13 bytes", send(&card, ref, 13));
    say("no bytes", send(&card, ref, 0));
    put(&card, ref, 0, MORE_DATA, 100);
    put(&card, ref, 0, 0, 101);
    push(&card);
    say("more in its pieces than it has", answer(&card));
    answer(&card);
    for (int i = 0; i < 20; i++)
        put(&card, ref, 0, i < 19 ? MORE_DATA : 0, i ? 10 : 400);
    push(&card);
    long worst = OKAY;
    for (int i = 0; i < 20; i++)
        worst += answer(&card);
    tell("20 pieces are 20 errors", worst == 20 * ERROR);
}

/* What shuts the card: the backend lets go and asks to close, and a card that begins anew is served. */
static void shut(const char *name)
{
    long result = answer(&card);
    int asked = backend_wait(&card, CLOSING), closed = card_close(&card), connected = card_connect(&card);
    printf("%s: %s, asked to close: %s, closed: %s, connected: %s\n", name,
           result == NO_ANSWER ? "nothing" : "an answer", asked ? "yes" : "no", closed ? "yes" : "no",
           connected ? "yes" : "no");
    honest("honest after that");
}

static void fatal(void)
{
    put(&card, ref, 4000, 0, 97);
    push(&card);
    shut("past the end of its page");
    put(&card, ref, 0, MORE_DATA, 100);
    push(&card);
    shut("a chain that is cut off");
    for (int i = 0; i < 200; i++)
        put(&card, ref, 0, MORE_DATA, 1);
    push(&card);
    shut("a chain without an end");
    put(&card, ref, 0, EXTRA_INFO, 100);
    put(&card, 0x00000001, 0, 0, 0);    /* as an extra info: of segments of 0 bytes */
    push(&card);
    shut("segments of no bytes");
    card.tx_prod += 1000;
    push(&card);
    shut("a transmit index that cannot be");
    card.rx->head.req_prod = card.rx_prod + 1000;
    put(&card, ref, 0, 0, SHORT);
    push(&card);
    u8 *data;
    say("sent all the same", answer(&card));
    receive(&card, 50000000, &data);
    shut("a receive index that cannot be");
}

/* Requests, right and wrong, as fast as the ring takes them, and nobody who looks at the answers. */
static void abuse(void)
{
    for (u32 n = 0;; n++) {
        put(&card, n & 1 ? ref : n * 77, 0, n % 4 ? 0 : MORE_DATA, n % 3 ? 13 : 60 + n % 1000);
        if (n % 64 == 63)
            push(&card);
        while (card.tx_prod - card.tx->head.rsp_prod >= ENTRIES)
            push(&card);
    }
}

void main(void)
{
    grants_start();
    card_find(&card);
    page = page_alloc();
    ref = grant(virt_to_mfn(page), GRANT_WRITABLE, 0);
    tell("connected", card_connect(&card));
    if (start_info->cmd_line[0] == 'e') {
        echo();
        return;
    }
    if (starts_with(start_info->cmd_line, "abuses"))
        abuse();
    if (start_info->cmd_line[0] == 'm') {
        measure();
        return;
    }
    u16 other = start_info->cmd_line[strlen(start_info->cmd_line) - 1] - '0';
    honest("honest");
    send_from(other);
    receive_into(other);
    survivable();
    honest("honest again");
    for (u32 i = 0; i < 20000; i++)
        kick(&card);
    honest("honest after 20000 events");
    fatal();
    tell("closed", card_close(&card));
}
