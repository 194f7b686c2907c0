/*
 * A client of DHCP (RFC 2131, options of RFC 2132) for one network card: what it asks, and what it makes of the answer.
 *
 * One socket for a card, bound to it, hears what comes before there is an address as well: answers are asked for as
 * broadcasts.  Some servers send them to the address that they offer all the same (RFC 2131, 4.1), which Linux does not
 * take before it is the card's: until then a second socket hears whatever comes in IPv4.  That one also asks, with
 * headers of ours: of a card without an address Linux would say another card's as the sender.
 * Times are milliseconds of the monotonic clock; addresses are kept as they stand in the messages.
 */
enum { AF_INET = 2, AF_PACKET = 17, ETH_P_IP = 0x0800, IPPROTO_UDP = 17, SOCK_DGRAM = 2,
       SOCK_RAW = 3, MSG_DONTWAIT = 0x40, SOL_SOCKET = 1, SO_REUSEADDR = 2,
       SO_BROADCAST = 6, SO_BINDTODEVICE = 25, CLOCK_MONOTONIC = 1 };
enum { SIOCADDRT = 0x890b, SIOCGIFFLAGS = 0x8913, SIOCSIFFLAGS = 0x8914, SIOCSIFADDR = 0x8916,
       SIOCSIFBRDADDR = 0x891a, SIOCSIFNETMASK = 0x891c, SIOCSIFMTU = 0x8922, SIOCGIFHWADDR = 0x8927,
       SIOCGIFINDEX = 0x8933, IFF_UP = 1, RTF_UP = 1, RTF_GATEWAY = 2, ARPHRD_ETHER = 1 };
enum { DISCOVER = 1, OFFER, REQUEST, DECLINE, ACK, NAK };
enum { MASK = 1, ROUTER = 3, NAME_SERVERS = 6, HOST_NAME = 12, DOMAIN_NAME = 15, INTERFACE_MTU = 26, BROADCAST = 28,
       REQUESTED = 50, LEASE = 51, MESSAGE_TYPE = 53, SERVER = 54, WANTED = 55, MOST_BYTES = 57, RENEWAL = 58,
       REBINDING = 59, CLASSLESS_ROUTES = 121, END = 255 };
enum { MOST_SERVERS = 3, DOMAIN_SIZE = 64, FIRST_TRIES = 4, MOST_PATIENCE = 64000, FOREVER = 0xffffffff };

static const u8 cookie[4] = { 99, 130, 83, 99 };

struct Dhcp {
    u8 op, hardware_type, hardware_length, hops;
    u32 transaction;
    u16 seconds, flags;
    u32 client, yours, next, relay;
    u8 hardware[16], name[64], file[128], cookie[4], options[312];
};

struct Datagram {
    u8 version, service;
    u16 length, identification, fragment;
    u8 life, protocol;
    u16 sum;
    u32 source, target;
    u16 from, to, udp_length, udp_sum;
    struct Dhcp message;
};

struct InternetAddress { u16 family, port; u32 address; u8 zero[8]; };
struct PacketAddress { u16 family, protocol; int index; u16 type; u8 kind, length, hardware[8]; };
struct InterfaceRequest { char name[16]; union { struct InternetAddress address; short flags; int number;
                          struct { u16 family; u8 bytes[14]; } hardware; u8 rest[24]; }; };
struct Route { u64 pad1; struct InternetAddress target, gateway, mask; u16 flags; short pad2; u64 pad3; void *pad4;
               short metric; char *device; u64 mtu, window; u16 rtt; };

/* What a server said. */
struct Lease {
    u8 type;
    u32 address, mask, broadcast, router, server, seconds, renewal, rebinding, mtu, nr_servers;
    u32 servers[MOST_SERVERS];
    char domain[DOMAIN_SIZE];
    const u8 *routes;                   /* of the message; RFC 3442 */
    u32 routes_length;
};

enum State { NOBODY, SELECTING, REQUESTING, BOUND, RENEWING };

struct Card {
    enum State state;
    int socket, packets, index;         /* packets: -1 once it has an address */
    u32 transaction, tries;
    u64 next, renew, rebind, end;       /* when to do something; of the lease */
    u8 hardware[6];
    char name[16];
    struct Lease lease;
};

static u64 now(void)
{
    u64 time[2];
    call2(SYS_clock_gettime, CLOCK_MONOTONIC, time);
    return time[0] * 1000 + time[1] / 1000000;
}

static u16 swap16(u32 value)
{
    return (u16)(value >> 8 | value << 8);
}

static u32 load32(const u8 *at)         /* in the host's order */
{
    return (u32)at[0] << 24 | (u32)at[1] << 16 | (u32)at[2] << 8 | at[3];
}

static u32 copy32(const u8 *at)         /* as it stands */
{
    u32 value;
    memcpy(&value, at, 4);
    return value;
}

/* --- what is sent */

static u8 *put_option(u8 *at, u32 option, const void *value, u32 length)
{
    *at++ = (u8)option;
    *at++ = (u8)length;
    memcpy(at, value, length);
    return at + length;
}

/* To everybody, by a card that has no address. */
static void send_packet(const struct Card *card, const struct Dhcp *message)
{
    struct PacketAddress address = { AF_PACKET, swap16(ETH_P_IP), card->index, 0, 0, 6,
                                     { 255, 255, 255, 255, 255, 255 } };
    struct Datagram packet;
    u32 sum = 0;
    memset(&packet, 0, sizeof packet);
    packet.version = 0x45;
    packet.length = swap16(sizeof packet);
    packet.life = 64;
    packet.protocol = IPPROTO_UDP;
    packet.target = FOREVER;
    packet.from = swap16(68);
    packet.to = swap16(67);
    packet.udp_length = swap16(8 + sizeof *message);
    packet.message = *message;
    for (const u8 *at = (const u8 *)&packet; at < (const u8 *)&packet.from; at += 2)
        sum += (u32)at[0] << 8 | at[1];
    sum = (sum & 0xffff) + (sum >> 16);
    packet.sum = swap16(~(sum + (sum >> 16)) & 0xffff);
    call6(SYS_sendto, card->packets, &packet, sizeof packet, 0, &address, sizeof address);
}

static void send_dhcp(struct Card *card, u32 type, u32 to)
{
    static const u8 wanted[] = { MASK, ROUTER, NAME_SERVERS, DOMAIN_NAME, INTERFACE_MTU, BROADCAST, LEASE, RENEWAL,
                                 REBINDING, CLASSLESS_ROUTES };
    static const u8 most[] = { sizeof(struct Dhcp) >> 8, sizeof(struct Dhcp) & 255 };
    struct InternetAddress address = { AF_INET, swap16(67), to, { 0 } };
    struct Dhcp message;
    u8 *at = message.options, kind = (u8)type;
    int is_bound = card->state >= BOUND;
    memset(&message, 0, sizeof message);
    message.op = message.hardware_type = 1;
    message.hardware_length = 6;
    message.transaction = card->transaction;
    message.flags = is_bound ? 0 : swap16(0x8000);
    message.client = is_bound ? card->lease.address : 0;
    memcpy(message.hardware, card->hardware, 6);
    memcpy(message.cookie, cookie, 4);
    at = put_option(at, MESSAGE_TYPE, &kind, 1);
    if (type == REQUEST && !is_bound) {
        at = put_option(at, REQUESTED, &card->lease.address, 4);
        at = put_option(at, SERVER, &card->lease.server, 4);
    }
    if (hostname && *hostname && length_of(hostname) < 64)
        at = put_option(at, HOST_NAME, hostname, (u32)length_of(hostname));
    at = put_option(at, MOST_BYTES, most, 2);
    at = put_option(at, WANTED, wanted, sizeof wanted);
    *at = END;
    if (!is_bound && card->packets >= 0)
        send_packet(card, &message);
    else
        call6(SYS_sendto, card->socket, &message, sizeof message, 0, &address, sizeof address);
}

/* --- what is heard */

static void take_option(struct Lease *lease, u32 option, const u8 *at, u32 length)
{
    if (option == MESSAGE_TYPE && length)
        lease->type = *at;
    else if (option == NAME_SERVERS)
        for (; length >= 4 && lease->nr_servers < MOST_SERVERS; at += 4, length -= 4)
            lease->servers[lease->nr_servers++] = copy32(at);
    else if (option == DOMAIN_NAME && length < DOMAIN_SIZE) {
        for (u32 i = 0; i < length && at[i] > ' ' && at[i] < 127; i++)
            lease->domain[i] = (char)at[i], lease->domain[i + 1] = 0;
    } else if (option == INTERFACE_MTU && length == 2)
        lease->mtu = (u32)at[0] << 8 | at[1];
    else if (option == CLASSLESS_ROUTES)
        lease->routes = at, lease->routes_length = length;
    if (length < 4)
        return;
    u32 *word = option == MASK ? &lease->mask : option == ROUTER ? &lease->router : option == SERVER ? &lease->server
              : option == BROADCAST ? &lease->broadcast : 0;
    u32 *number = option == LEASE ? &lease->seconds : option == RENEWAL ? &lease->renewal
                : option == REBINDING ? &lease->rebinding : 0;
    if (word)
        *word = copy32(at);
    if (number)
        *number = load32(at);
}

/* Read an answer to this card; whether it is one. */
static int read_answer(const struct Card *card, const struct Dhcp *message, u64 size, struct Lease *lease)
{
    memset(lease, 0, sizeof *lease);
    if (size < sizeof *message - sizeof message->options || message->op != 2
        || message->transaction != card->transaction || copy32(message->cookie) != copy32(cookie))
        return 0;
    for (u32 i = 0; i < 6; i++)
        if (message->hardware[i] != card->hardware[i])
            return 0;
    lease->address = message->yours;
    for (const u8 *at = message->options, *end = (const u8 *)message + size; at < end && *at != END;) {
        if (!*at) {                     /* padding */
            at++;
            continue;
        }
        if (end - at < 2 || end - at - 2 < at[1])
            return 0;
        take_option(lease, at[0], at + 2, at[1]);
        at += 2 + at[1];
    }
    return lease->type != 0;
}

/* The next message to a client; its size, or 0.  Of IPv4 packets those that are none are passed over. */
static u64 next_message(const struct Card *card, struct Dhcp *message)
{
    static u8 packet[60 + 8 + sizeof *message];
    s64 size = call6(SYS_recvfrom, card->socket, message, sizeof *message, MSG_DONTWAIT, 0, 0);
    if (size > 0)
        return (u64)size;
    while ((size = call6(SYS_recvfrom, card->packets, packet, sizeof packet, MSG_DONTWAIT, 0, 0)) > 0) {
        u64 head = (packet[0] & 15) * 4UL + 8;
        u8 *udp = packet + head - 8;
        if (size < 28 || packet[9] != IPPROTO_UDP || (packet[6] & 0x3f) || packet[7] || head < 28 || (u64)size <= head
            || load32(udp) != (67 << 16 | 68))
            continue;
        u64 length = (u64)(udp[4] << 8 | udp[5]) - 8, there = (u64)size - head;
        length = length < there ? length : there;
        length = length < sizeof *message ? length : sizeof *message;
        memcpy(message, packet + head, length);
        return length;
    }
    return 0;
}

static void close_packets(struct Card *card)
{
    if (card->packets >= 0)
        call1(SYS_close, card->packets);
    card->packets = -1;
}

/* --- what a card gets */

static void set_address(int socket, struct InterfaceRequest *request, u32 what, u32 address)
{
    memset(&request->address, 0, sizeof request->address);
    request->address.family = AF_INET;
    request->address.address = address;
    call3(SYS_ioctl, socket, what, request);
}

static void add_route(const struct Card *card, u32 target, u32 mask, u32 gateway)
{
    struct Route route;
    memset(&route, 0, sizeof route);
    route.target.family = route.gateway.family = route.mask.family = AF_INET;
    route.target.address = target;
    route.mask.address = mask;
    route.gateway.address = gateway;
    route.flags = (u16)(RTF_UP | (gateway ? RTF_GATEWAY : 0));
    route.metric = (short)(card->index + 1);    /* one more than what it is; the first card goes first */
    route.device = (char *)card->name;
    call3(SYS_ioctl, card->socket, SIOCADDRT, &route);
}

static u32 mask_of(u32 bits)
{
    u32 mask = bits ? 0xffffffffu << (32 - bits) : 0;
    return __builtin_bswap32(mask);
}

/* Destinations are as many bytes as they have bits for, each behind its length (RFC 3442). */
static void add_routes(const struct Card *card, const struct Lease *lease)
{
    const u8 *at = lease->routes, *end = at + lease->routes_length;
    if (!at && lease->router)
        add_route(card, 0, 0, lease->router);
    while (at < end) {
        u32 bits = *at++, bytes = (bits + 7) / 8, target = 0;
        if (bits > 32 || end - at < bytes + 4)
            return;
        memcpy(&target, at, bytes);
        add_route(card, target, mask_of(bits), copy32(at + bytes));
        at += bytes + 4;
    }
}

static void apply(struct Card *card, const struct Lease *lease)
{
    struct InterfaceRequest request;
    memset(&request, 0, sizeof request);
    memcpy(request.name, card->name, sizeof request.name);
    if (lease->address != card->lease.address || card->state != RENEWING) {
        set_address(card->socket, &request, SIOCSIFADDR, lease->address);
        if (lease->mask)
            set_address(card->socket, &request, SIOCSIFNETMASK, lease->mask);
        if (lease->broadcast)
            set_address(card->socket, &request, SIOCSIFBRDADDR, lease->broadcast);
        if (lease->mtu >= 576) {
            request.number = (int)lease->mtu;
            call3(SYS_ioctl, card->socket, SIOCSIFMTU, &request);
        }
        add_routes(card, lease);
    }
    u64 time = now(), seconds = lease->seconds ? lease->seconds : FOREVER;
    u32 renewal = lease->renewal && lease->renewal < seconds ? lease->renewal : (u32)(seconds / 2);
    u32 rebinding = lease->rebinding && lease->rebinding < seconds ? lease->rebinding : (u32)(seconds * 7 / 8);
    u32 server = lease->server ? lease->server : card->lease.server;
    card->lease = *lease;
    card->lease.server = server;
    card->state = BOUND;
    card->renew = card->next = seconds == FOREVER ? ~0UL : time + renewal * 1000UL;
    card->rebind = time + rebinding * 1000UL;
    card->end = time + seconds * 1000UL;
}

/* --- its course */

static void begin_dhcp(struct Card *card)
{
    struct PacketAddress address = { AF_PACKET, swap16(ETH_P_IP), card->index, 0, 0, 0, { 0 } };
    if (card->packets < 0) {
        card->packets = (int)call3(SYS_socket, AF_PACKET, SOCK_DGRAM | O_CLOEXEC | O_NONBLOCK, 0);
        if (call3(SYS_bind, card->packets, &address, sizeof address) < 0)
            close_packets(card);        /* broadcasts it is */
    }
    card->state = SELECTING;
    card->tries = 0;
    card->next = 0;
    card->transaction += ((u32)now() * 2654435761u ^ copy32(card->hardware + 2)) | 1;   /* never the one before */
    memset(&card->lease, 0, sizeof card->lease);
}

/* The address is not the card's any more, or was not to be. */
static void give_up(struct Card *card)
{
    struct InterfaceRequest request;
    memset(&request, 0, sizeof request);
    memcpy(request.name, card->name, sizeof request.name);
    if (card->state >= BOUND)
        set_address(card->socket, &request, SIOCSIFADDR, 0);
    begin_dhcp(card);
}

/* Do what is due at this time. */
static void go_on(struct Card *card, u64 time)
{
    u64 patience = 125UL << (card->tries < 10 ? card->tries : 10);
    if (card->state == REQUESTING && card->tries >= FIRST_TRIES)
        begin_dhcp(card);               /* who offered it does not answer */
    if (card->state == SELECTING || card->state == REQUESTING) {
        send_dhcp(card, card->state == SELECTING ? DISCOVER : REQUEST, FOREVER);
        card->tries++;
        card->next = time + (patience < MOST_PATIENCE ? patience : MOST_PATIENCE);
    } else if (time >= card->end) {
        give_up(card);
    } else {
        u64 until = time < card->rebind ? card->rebind : card->end, half = (until - time) / 2;
        card->state = RENEWING;
        send_dhcp(card, REQUEST, time < card->rebind ? card->lease.server : FOREVER);
        card->next = half > 60000 ? time + half : time + 60000 < until ? time + 60000 : until;
    }
}

/* Read what came for the card. */
static void hear(struct Card *card)
{
    struct Dhcp message;
    struct Lease lease;
    u64 size;
    while ((size = next_message(card, &message)) > 0) {
        if (!read_answer(card, &message, size, &lease))
            continue;
        if (lease.type == OFFER && card->state == SELECTING) {
            card->lease = lease;
            card->state = REQUESTING;
            card->tries = 0;
            go_on(card, now());
        } else if (lease.type == ACK && (card->state == REQUESTING || card->state == RENEWING)) {
            apply(card, &lease);
        } else if (lease.type == NAK && (card->state == REQUESTING || card->state == RENEWING)) {
            give_up(card);
        }
    }
}
