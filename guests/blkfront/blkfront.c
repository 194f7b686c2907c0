/* A block frontend that behaves, and one that does not.
 *
 * "victim": write a disk and memory, then look at both again and again until a key is pressed.
 * "attack N": do to its own disk's backend what could reach domain N, or harm the backend, and print of each attempt
 * what came of it: the status in the ring, or "nothing" where no response came.  "slow N" is the same on a disk that
 * takes its time, so that pages are in use for long; "persistent N" lets the backend keep them. */
#include "blkfront.h"

struct front f;
u8 *page;
u32 ref;
static u16 other;           /* the other domain */
static int slow;

static const char *status(long status)
{
    switch (status) {
    case OKAY: return "okay";
    case ERROR: return "error";
    case NOT_SUPPORTED: return "not supported";
    case NO_ANSWER: return "nothing";
    default: return "nonsense";
    }
}

static void say(const char *name, long result) { printf("%s: %s\n", name, status(result)); }
void tell(const char *name, int yes) { printf("%s: %s\n", name, yes ? "yes" : "no"); }

/* --- the attacker */

static void honest(const char *name)
{
    static u64 seed;
    fill(page, ++seed);
    long wrote = transfer(&f, OP_WRITE, 8, ref, 0, 7);
    memset(page, 0xee, PAGE);
    long read = transfer(&f, OP_READ, 8, ref, 0, 7);
    tell(name, !wrote && !read && holds(page, seed));
}

/* Requests of one segment each, in batches; how many were carried out. */
static u32 batch(u8 op, u32 *refs, u32 count)
{
    u32 done = 0;
    for (u32 i = 0; i < count; i++) {
        struct request request = { op, 1, 0, 0, i, 64, { { refs[i], 0, 7, 0 } } };
        put(&f, &request);
    }
    push(&f);
    for (u32 i = 0; i < count; i++)
        done += answer(&f) == OKAY;
    return done;
}

static void guess_references(void)
{
    u32 refs[32], reached = 0, count = 0;
    for (u32 i = 0; i < 2 * NR_REFS; i++) {
        if (i < NR_REFS && grants[i].flags)
            continue;
        refs[count++] = i;
        if (count == 32) {
            reached += batch(OP_READ, refs, count) + batch(OP_WRITE, refs, count);
            count = 0;
        }
    }
    printf("references that were not granted: %u reached\n", reached);
    say("reference 0xffffffff", transfer(&f, OP_READ, 0, 0xffffffff, 0, 7));
    say("reference 0x80000000", transfer(&f, OP_WRITE, 0, 0x80000000, 0, 7));
}

/* Every frame of the machine that is not ours, as if it were. */
static void grant_what_is_not_ours(void)
{
    u64 last = hypercall(memory_op, XENMEM_maximum_ram_page, 0);
    u32 refs[32], reached = 0, count = 0, tried = 0;
    for (int i = 0; i < 32; i++)
        refs[i] = grant(0, GRANT_WRITABLE, 0);
    for (u64 mfn = 0; mfn <= last + 64; mfn++) {
        u64 pfn = mfn <= last ? mfn_to_pfn(mfn) : ~0ul;
        if (pfn < start_info->nr_pages && pfn_to_mfn(pfn) == mfn)
            continue;
        grant_again(refs[count++], mfn, GRANT_WRITABLE, 0);
        tried++;
        if (count == 32) {
            reached += batch(OP_WRITE, refs, count) + batch(OP_READ, refs, count);
            count = 0;
        }
    }
    tell("frames of others were tried", tried > 1000);
    printf("frames of others: %u reached\n", reached);
    for (int i = 0; i < 32; i++)
        grant_end(refs[i]);
}

static void attack_grants(void)
{
    u8 *spare = page_alloc();
    u32 again = grant(virt_to_mfn(spare), GRANT_WRITABLE, 0);
    say("a grant", transfer(&f, OP_READ, 0, again, 0, 7));
    tell("taken back", grant_end(again));
    memset(spare, 0xee, PAGE);
    say("read after that", transfer(&f, OP_READ, 0, again, 0, 7));
    say("write after that", transfer(&f, OP_WRITE, 64, again, 0, 7));
    grant_again(again, virt_to_mfn(spare), GRANT_READ_ONLY, 0);
    say("read into a read-only grant", transfer(&f, OP_READ, 0, again, 0, 7));
    say("write out of a read-only grant", transfer(&f, OP_WRITE, 64, again, 0, 7));
    tell("taken back", grant_end(again));
    grant_again(again, virt_to_mfn(spare), GRANT_WRITABLE, other);
    say("a grant for the other domain", transfer(&f, OP_READ, 0, again, 0, 7));
    grant_again(again, virt_to_mfn(spare), GRANT_WRITABLE, 0x7ff0);
    say("a grant for DOMID_SELF", transfer(&f, OP_READ, 0, again, 0, 7));
    grant_again(again, virt_to_mfn(spare), 2, 0);
    say("a transfer for a grant", transfer(&f, OP_READ, 0, again, 0, 7));
    u8 untouched = 1;
    for (u64 i = 0; i < PAGE; i++)
        untouched &= spare[i] == 0xee;
    tell("untouched by all that", untouched);
    grant_again(again, l4_mfn(), GRANT_WRITABLE, 0);
    say("read into the L4", transfer(&f, OP_READ, 0, again, 0, 7));
    grant_again(again, pte_machine((u64)spare, 1) / PAGE, GRANT_WRITABLE, 0);
    say("read into an L1", transfer(&f, OP_READ, 0, again, 0, 7));
    grant_end(again);
}

static void attack_other_domain(void)
{
    u32 reached = 0;
    u8 *spare = page_alloc();
    for (u32 i = 0; i < NR_REFS; i++) {
        struct gnttab_copy copy = { { { .ref = i }, other, 0 }, { { .gmfn = virt_to_mfn(spare) }, DOMID_SELF, 0 }, 16,
                                    1, 99 };
        hypercall(grant_table_op, GNTTABOP_copy, &copy, 1);
        reached += !copy.status;
        struct gnttab_map_grant_ref map = { (u64)spare, 2, i, other, 99, 0, 0 };
        hypercall(grant_table_op, GNTTABOP_map_grant_ref, &map, 1);
        reached += !map.status;
    }
    printf("its grants: %u reached\n", reached);
    reached = 0;
    for (u32 i = 0; i < 64; i++) {
        struct evtchn_bind_interdomain bind = { other, i, 0 };
        reached += !hypercall(event_channel_op, EVTCHNOP_bind_interdomain, &bind);
        struct evtchn_status status = { .dom = other, .port = i };
        reached += !hypercall(event_channel_op, EVTCHNOP_status, &status);
    }
    printf("its ports: %u reached\n", reached);
    char path[64] = "/local/domain/", value[64];
    path[14] = '0' + other;
    memcpy(path + 15, "/device/vbd/51712/ring-ref", 27);
    printf("its keys: read %s, ", store_read(path, value, sizeof(value)) ?: "okay");
    printf("written %s\n", store_write(path, "8") ?: "okay");
    memcpy(path, f.backend, strlen(f.backend) + 1);
    memcpy(path + strlen(path), "/state", 7);
    printf("the backend's keys: written %s, ", store_write(path, "6") ?: "okay");
    printf("removed %s\n", store_remove(path) ?: "okay");
}

static void segments(const char *name, u8 op, u8 count, u64 sector, struct segment first)
{
    struct request request = { op, count, 0, 0, 1, sector, { first } };
    for (int i = 1; i < 11; i++)
        request.segments[i] = (struct segment){ ref, 0, 7, 0 };
    say(name, send(&f, &request));
}

static void attack_requests(void)
{
    struct segment good = { ref, 0, 7, 0 };
    memset(page, 0xee, PAGE);
    segments("no segments", OP_READ, 0, 0, good);
    segments("12 segments", OP_READ, 12, 0, good);
    segments("255 segments", OP_WRITE, 255, 0, good);
    segments("a segment that ends before it begins", OP_READ, 1, 0, (struct segment){ ref, 5, 4, 0 });
    segments("a segment beyond its page", OP_READ, 1, 0, (struct segment){ ref, 0, 8, 0 });
    segments("a segment far beyond its page", OP_WRITE, 1, 0, (struct segment){ ref, 7, 255, 0 });
    segments("a bad reference before good ones", OP_READ, 11, 0, (struct segment){ NR_REFS - 1, 0, 7, 0 });
    segments("past the end", OP_READ, 1, f.sectors, good);
    segments("across the end", OP_WRITE, 1, f.sectors - 7, good);
    static const u64 far[] = { 1ul << 53, 1ul << 54, (1ul << 55) - 8, 1ul << 55, 1ul << 63, ~0ul, -8ul, -7ul };
    u32 reached = 0;
    for (u32 i = 0; i < sizeof(far) / sizeof(*far); i++) {
        reached += transfer(&f, OP_READ, far[i], ref, 0, 7) != ERROR;
        reached += transfer(&f, OP_WRITE, far[i], ref, 0, 7) != ERROR;
        reached += transfer(&f, OP_BARRIER, far[i], ref, 0, 7) != ERROR;
    }
    printf("sectors far away: %u reached\n", reached);
    reached = 0;
    for (int op = 7; op < 256; op++)
        reached += transfer(&f, op, 0, ref, 0, 7) != NOT_SUPPORTED;
    printf("operations that are none: %u\n", reached);
    segments("a flush with 200 segments", OP_FLUSH, 200, 0, good);
    segments("a flush of a bad reference", OP_FLUSH, 1, 0, (struct segment){ NR_REFS - 1, 0, 7, 0 });
    segments("a barrier of a bad reference", OP_BARRIER, 1, 0, (struct segment){ NR_REFS - 1, 0, 7, 0 });
    reached = 0;
    for (u32 i = 0; i < sizeof(far) / sizeof(*far); i++)
        for (u32 j = 0; j < sizeof(far) / sizeof(*far); j++) {
            struct discard_request discard = { OP_DISCARD, i & 1, 0, 0, 1, far[i], far[j], { 0 } };
            reached += send(&f, &discard) == OKAY;
            discard.sector = 8;
            reached += send(&f, &discard) == OKAY;
        }
    printf("discards far away: %u\n", reached);
    u8 untouched = 1;
    for (u64 i = 0; i < PAGE; i++)
        untouched &= page[i] == 0xee;
    tell("untouched by all that", untouched);
}

static void indirect(const char *name, u8 op, u16 count, u32 list_ref)
{
    struct indirect_request request = { OP_INDIRECT, op, count, 0, 1, 0, 0, 0, { list_ref }, { 0 } };
    say(name, send(&f, &request));
}

static void attack_indirect(void)
{
    struct segment *list = page_alloc();
    u32 list_ref = grant(virt_to_mfn(list), GRANT_READ_ONLY, 0);
    for (u32 i = 0; i < PAGE / sizeof(*list); i++)
        list[i] = (struct segment){ ref, 0, 7, 0 };
    indirect("indirect, 4 segments", OP_READ, 4, list_ref);
    indirect("indirect, none", OP_READ, 0, list_ref);
    indirect("indirect, 257", OP_READ, 257, list_ref);
    indirect("indirect, 65535", OP_WRITE, 65535, list_ref);
    indirect("indirect flush", OP_FLUSH, 1, list_ref);
    indirect("indirect indirect", OP_INDIRECT, 1, list_ref);
    indirect("indirect 99", 99, 1, list_ref);
    indirect("indirect, a list that is not granted", OP_READ, 4, NR_REFS - 1);
    list[200].ref = NR_REFS - 1;
    indirect("indirect, a bad reference among 256", OP_READ, 256, list_ref);
    list[200] = (struct segment){ ref, 7, 0, 0 };
    indirect("indirect, a bad segment among 256", OP_READ, 256, list_ref);
    list[0] = (struct segment){ list_ref, 0, 7, 0 };
    indirect("indirect, read into its own list", OP_READ, 4, list_ref);
    grant_end(list_ref);
}

/* What is in the ring, or in a list, is another thing whenever the device looks. */
static void change_under_way(void)
{
    struct segment *list = page_alloc();
    u32 list_ref = grant(virt_to_mfn(list), GRANT_READ_ONLY, 0);
    u32 answered = 0, nonsense = 0;
    for (u32 round = 0; round < 600; round++) {
        int is_indirect = round & 1;
        struct request plain = { OP_READ, 1, 0, 0, 1, 0, { { ref, 0, 7, 0 } } };
        struct indirect_request long_one = { OP_INDIRECT, OP_READ, 8, 0, 1, 0, 0, 0, { list_ref }, { 0 } };
        volatile struct request *entry = &f.ring->entries[f.req_prod % 32];
        for (u32 i = 0; i < 8; i++)
            list[i] = (struct segment){ ref, 0, 7, 0 };
        put(&f, is_indirect ? (void *)&long_one : (void *)&plain);
        push(&f);
        for (u32 i = 0; i < 2000 && f.ring->rsp_prod == f.rsp_cons; i++) {
            u32 wild = i * 2654435761u;
            if (is_indirect) {
                list[i % 8] = (struct segment){ i & 1 ? ref : wild, wild >> 8, wild >> 16, 0 };
            } else {
                entry->nr_segments = wild;
                entry->sector = i & 1 ? 0 : ~0ul / 512 - wild;
                entry->segments[0].ref = i & 2 ? ref : wild;
                entry->segments[0].last = i & 4 ? 7 : wild;
            }
        }
        long result = answer(&f);
        answered += result != NO_ANSWER;
        nonsense += result != OKAY && result != ERROR;
    }
    printf("requests that changed: %u answered, %u with nonsense\n", answered, nonsense);
    grant_end(list_ref);
}

/* A page is given back, or made a page table, while the device uses it: the grant's flags tell that it does. */
static void take_away_under_way(void)
{
    u32 answered = 0, in_use = 0, retyped = 0;
    for (u32 round = 0; round < 20; round++) {
        u8 *gone = page_alloc();
        u64 mfn = virt_to_mfn(gone), frames[1] = { mfn };
        u32 going = grant(mfn, GRANT_WRITABLE, 0);
        volatile u16 *flags = &grants[going].flags;
        struct request request = { OP_READ, 1, 0, 0, 1, 8 * (round % 8), { { going, 0, 7, 0 } } };
        put(&f, &request);
        push(&f);
        while (slow && !(*flags & GRANT_IN_USE) && f.ring->rsp_prod == f.rsp_cons)
            ;
        if (*flags & GRANT_IN_USE)
            in_use++;
        if (round & 1) {
            page_readonly(gone);
            if (!mmuext(MMUEXT_PIN_L1_TABLE, mfn, 0)) {
                retyped += !!(*flags & GRANT_IN_USE);
                mmuext(MMUEXT_UNPIN_TABLE, mfn, 0);
            }
        } else {
            struct xen_memory_reservation give = { frames, 1, 0, 0, DOMID_SELF };
            hypercall(update_va_mapping, gone, 0, UVMF_INVLPG);
            hypercall(memory_op, XENMEM_decrease_reservation, &give);
        }
        *flags = 0;
        answered += answer(&f) != NO_ANSWER;
    }
    printf("pages taken away: %u answered, %u became page tables while in use\n", answered, retyped);
    if (slow)
        tell("some were in use", in_use > 0);
}

static void forge_indices(void)
{
    static const u32 ahead[] = { 33, 1000, 1u << 31, ~0u };
    for (u32 i = 0; i < sizeof(ahead) / sizeof(*ahead); i++) {
        f.req_prod += ahead[i];
        push(&f);
        say("a forged index", answer_soon(&f));
        tell("closed", front_close(&f));
        tell("connected", front_connect(&f));
        honest("honest again");
    }
    struct request request = { OP_READ, 1, 0, 0, 1, 8, { { f.ring_ref, 0, 7, 0 } } };
    put(&f, &request);
    push(&f);
    answer_soon(&f);            /* of a ring that is a disk's block now: anything */
    printf("read into the ring itself\n");
    tell("closed", front_close(&f));
    tell("connected", front_connect(&f));
    honest("honest again");
}

static void ask_after_close(void)
{
    tell("closed", front_close(&f));
    memset(page, 0xee, PAGE);
    f.ring_ref = grant(virt_to_mfn(f.ring), GRANT_WRITABLE, 0);
    struct request request = { OP_READ, 1, 0, 0, 1, 0, { { ref, 0, 7, 0 } } };
    put(&f, &request);
    push(&f);
    say("a request after that", answer_soon(&f));
    tell("untouched by that", page[0] == 0xee && page[4095] == 0xee);
    grant_end(f.ring_ref);
}

/* Each of these is published with a ring that is good otherwise. */
static void publish_nonsense(void)
{
    static const struct { const char *key, *value; } nonsense[] = {
        { "/ring-ref", "0" }, { "/ring-ref", "999" }, { "/ring-ref", "4294967296" }, { "/ring-ref", "-1" },
        { "/ring-ref", "" }, { "/ring-ref", "8 9" }, { "/ring-ref", "18446744073709551624" },
        { "/event-channel", "0" }, { "/event-channel", "1" }, { "/event-channel", "2" }, { "/event-channel", "3000" },
        { "/event-channel", "99999999" }, { "/event-channel", "x" }, { "/protocol", "x86_32-abi" }, { "/protocol", "" },
        { "/multi-queue-num-queues", "0" }, { "/multi-queue-num-queues", "4" }, { "/multi-queue-num-queues", "99999" },
        { "/ring-page-order", "5" }, { "/ring-page-order", "4294967295" }, { "/ring-page-order", "4" },
        { "/num-ring-pages", "3" },
    };
    u32 refused = 0;
    for (u32 i = 0; i < sizeof(nonsense) / sizeof(*nonsense); i++) {
        char path[128];
        front_state(&f, INITIALISING);
        backend_wait(&f, INIT_WAIT);
        front_publish(&f);
        front_write(&f, nonsense[i].key, nonsense[i].value);
        front_state(&f, INITIALISED);
        if (backend_wait(&f, CLOSING))
            refused++;
        else
            printf("%s=%s was taken\n", nonsense[i].key, nonsense[i].value);
        front_close(&f);
        memcpy(path, f.path, strlen(f.path));
        memcpy(path + strlen(f.path), nonsense[i].key, strlen(nonsense[i].key) + 1);
        store_remove(path);
    }
    printf("nonsense that was published: %u of %lu refused\n", refused, sizeof(nonsense) / sizeof(*nonsense));
}

static void flap(void)
{
    u32 wild = 1;
    for (u32 i = 0; i < 400; i++) {
        wild = wild * 1103515245 + 12345;
        front_state(&f, 1 + (wild >> 16) % 6);
    }
    front_state(&f, CLOSED);
    tell("closed", backend_wait(&f, CLOSED));
}

/* Requests, right and wrong, as fast as the ring takes them, and nobody who looks at the answers. */
static void abuse(void)
{
    for (u64 n = 0;; n++) {
        struct request wrong = { n % 7, n % 13, 0, 0, n, n % 3 ? 8 * (n % 64) : n << 40, { { 0 } } };
        for (int i = 0; i < 11; i++)
            wrong.segments[i] = (struct segment){ n & 1 ? ref : (u32)(n * 77 + i), 0, n % 9, 0 };
        put(&f, &wrong);
        if (n % 16 == 15)
            push(&f);
        while (f.req_prod - f.ring->rsp_prod >= 32)
            push(&f);
    }
}

void main(void)
{
    grants_start();
    front_find(&f);
    other = start_info->cmd_line[strlen(start_info->cmd_line) - 1] - '0';
    slow = start_info->cmd_line[0] == 's';
    f.persistent = start_info->cmd_line[0] == 'p';
    page = page_alloc();
    ref = grant(virt_to_mfn(page), GRANT_WRITABLE, 0);
    tell("connected", front_connect(&f));
    if (starts_with(start_info->cmd_line, "computes") || starts_with(start_info->cmd_line, "reads")) {
        worker(start_info->cmd_line[0] == 'c');
        return;
    }
    if (starts_with(start_info->cmd_line, "abuses"))
        abuse();
    if (start_info->cmd_line[0] == 'v') {
        victim();
        return;
    }
    honest("honest");
    if (!f.persistent)          /* what is kept cannot be taken back */
        attack_grants();
    guess_references();
    grant_what_is_not_ours();
    attack_other_domain();
    attack_requests();
    attack_indirect();
    honest("honest again");
    change_under_way();
    take_away_under_way();
    for (u32 i = 0; i < 20000; i++) {
        struct evtchn_port port = { f.port };
        hypercall(event_channel_op, EVTCHNOP_send, &port);
    }
    honest("honest after 20000 events");
    forge_indices();
    ask_after_close();
    publish_nonsense();
    tell("connected", front_connect(&f));
    honest("honest after that");
    flap();
    tell("connected", front_connect(&f));
    honest("honest after flapping");
    front_write(&f, "/state", "nonsense");
    tell("gone for nonsense", backend_wait(&f, -1));
}
