/*
 * A command's standard streams through memory that is shared with the host: for each a ring of bytes in pages granted
 * to domain 0 (/dev/xen/gntalloc), and one event channel that says that something moved (/dev/xen/evtchn).
 *
 * The first page holds the rings' indices and the references of their pages.  An index counts bytes for ever, modulo
 * 2^32; each is written by one end only.  Who cannot go on says which value of the other's index will do (`prod_event`,
 * `cons_event`), looks once more, and sleeps; who moves an index past that value sends an event.
 *
 * The host's words to who serves the command are in a small ring behind that.  The rest of the page is for a command
 * that is asked for while the guest runs (exec.h): what has become of it, and a byte that the kernel clears when nobody
 * serves it any more, with an event (UNMAP_NOTIFY).
 */
enum { PAGE = 4096, RING_PAGES = 64, RING_SIZE = RING_PAGES * PAGE };
enum { RING_OUT, RING_ERR, RING_IN, NR_RINGS };
enum { GRANT_ALLOC = 0x184705, GRANT_WRITABLE = 1, BIND_UNBOUND_PORT = 0x44502, NOTIFY = 0x44504,
       SET_UNMAP_NOTIFY = 0x104707, UNMAP_CLEARS_AND_NOTIFIES = 3 };
enum { NR_WORDS = 64, WORD_SIGNAL = 1, WORD_WINDOW, WORD_CLOSE, WORD_HANG_UP, WORD_BYE };  /* the word's upper 8 bits */
enum { RUNS = 1, HAS_EXITED, WAS_KILLED };

struct Ring { u32 prod, cons, prod_event, cons_event; };
static volatile struct {
    struct Ring ring[NR_RINGS];
    u32 input_ended, refs[NR_RINGS * RING_PAGES];
    u32 words_prod, words_cons, words[NR_WORDS];
    u32 state, status, alive;
} *shared;
static u8 *ring_data[NR_RINGS];
static u32 ring_ref, ring_port;         /* what the host needs to know */
static int ring_events;

/* Whether this kernel has what it takes; it may have to be loaded before. */
static void open_rings(void)
{
    static struct { u16 domid, flags; u32 count; u64 index; u32 refs[1 + NR_RINGS * RING_PAGES]; } grant;
    u32 host = 0;
    s64 grants = call2(SYS_open, "/dev/xen/gntalloc", O_RDWR | O_CLOEXEC), port, memory;
    s64 events = call2(SYS_open, "/dev/xen/evtchn", O_RDWR | O_CLOEXEC);
    grant.flags = GRANT_WRITABLE;
    grant.count = 1 + NR_RINGS * RING_PAGES;
    s64 error = call3(SYS_ioctl, grants, GRANT_ALLOC, &grant);
    if (error == -ENOMEM)
        ring_ref = (u32)(free_memory() >> 10) | 1;
    if (error < 0 || (port = call3(SYS_ioctl, events, BIND_UNBOUND_PORT, &host)) < 0)
        return;
    memory = syscall6(SYS_mmap, 0, grant.count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, grants, (s64)grant.index);
    if (memory < 0 && memory > -PAGE)
        return;
    shared = (void *)memory;
    for (u32 i = 0; i < NR_RINGS; i++)
        ring_data[i] = (u8 *)memory + PAGE + i * RING_SIZE;
    for (u32 i = 0; i < NR_RINGS * RING_PAGES; i++)
        shared->refs[i] = grant.refs[1 + i];
    ring_ref = grant.refs[0];
    ring_port = (u32)port;
    ring_events = (int)events;
    struct { u64 index; u32 action, port; } end = {
        grant.index + ((u64)&shared->alive - (u64)shared), UNMAP_CLEARS_AND_NOTIFIES, ring_port,
    };
    call3(SYS_ioctl, grants, SET_UNMAP_NOTIFY, &end);
    shared->alive = 1;
}

static void fence(void)
{
    __asm__ volatile("mfence" : : : "memory");
}

/* An index went from `old` to `new`: tell the host if that is what it waits for. */
static void ring_moved(u32 old, u32 new, volatile u32 *event)
{
    fence();
    if (new - *event < new - old)
        call3(SYS_ioctl, ring_events, NOTIFY, &ring_port);
}

/* Wait for events where none came, and take them; more may come then. */
static void take_ring_events(void)
{
    u32 ports[4];
    s64 n = call3(SYS_read, ring_events, ports, sizeof ports);
    if (n > 0)
        call3(SYS_write, ring_events, ports, n);
}

/* The host's next word, 0 when there is none. */
static u32 next_word(void)
{
    u32 cons = shared->words_cons, word;
    if (shared->words_prod == cons)
        return 0;
    fence();
    word = shared->words[cons % NR_WORDS];
    fence();
    shared->words_cons = cons + 1;
    return word;
}

/* Whether an output has room; if not, there will be an event once half of it is free. */
static int has_room(u32 i)
{
    volatile struct Ring *ring = &shared->ring[i];
    if (ring->prod - ring->cons < RING_SIZE)
        return 1;
    ring->cons_event = ring->prod - RING_SIZE / 2;
    fence();
    return ring->prod - ring->cons < RING_SIZE;
}

/* Whether the input has bytes, or its end was said; if not, there will be an event. */
static int has_input(void)
{
    volatile struct Ring *ring = &shared->ring[RING_IN];
    ring->prod_event = ring->cons + 1;
    fence();
    return ring->prod != ring->cons || shared->input_ended;
}

/* Move bytes between a pipe and `length` bytes of a ring from `index` on, with readv or writev. */
static s64 move(s64 call, u32 i, int pipe, u32 index, u32 length)
{
    u32 at = index % RING_SIZE, first = length < RING_SIZE - at ? length : RING_SIZE - at;
    struct { u8 *base; u64 length; } part[] = { { ring_data[i] + at, first }, { ring_data[i], length - first } };
    return call3(call, pipe, part, 2);
}

/* Move what one of the command's output pipes holds to its ring.  Precondition: that has room.  Answers as read
 * does. */
static s64 fill_ring(u32 i, int pipe)
{
    volatile struct Ring *ring = &shared->ring[i];
    u32 prod = ring->prod;
    s64 n = move(SYS_readv, i, pipe, prod, RING_SIZE - (prod - ring->cons));
    if (n > 0) {
        fence();
        ring->prod = prod + (u32)n;
        ring_moved(prod, prod + (u32)n, &ring->prod_event);
    }
    return n;
}

/* Move input from its ring to the command's pipe.  Answers as write does; 0 when there is none. */
static s64 empty_ring(int pipe)
{
    volatile struct Ring *ring = &shared->ring[RING_IN];
    u32 cons = ring->cons, used = ring->prod - cons;
    fence();
    s64 n = used ? move(SYS_writev, RING_IN, pipe, cons, used) : 0;
    if (n > 0) {
        fence();
        ring->cons = cons + (u32)n;
        ring_moved(cons, cons + (u32)n, &ring->cons_event);
    }
    return n;
}
