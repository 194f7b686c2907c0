/*
 * The network: `lo` and every card are brought up, and the cards have an address, routes and name servers when the
 * shell or command starts.
 *
 * A process of its own does it, and goes on to renew leases and to take cards that are plugged in later (dhcp.h).  It
 * is there where a card is, or may be plugged in; the module of the cards, which waits a tenth of a second for their
 * backends when it is loaded, is loaded by another, and both meanwhile.  What they know of name servers they tell the
 * agent through a pipe, for they stay in the RAM disk where the agent goes to another root.
 *
 * IPv6 is the kernel's: it asks for a router as soon as a card is up, because it is told that there are no duplicates
 * to look for first.  Addresses are made of the MAC, and of those no two are alike.
 *
 * Where a root file system's init takes over, all but loading the module is left to that.
 */
#include "dhcp.h"

#ifndef CARD_LINK
#define CARD_LINK "/device/subsystem"   /* what a card has in sysfs; tests take others for cards as well */
#endif

enum { AF_NETLINK = 16, NETLINK_ROUTE = 0, RTMGRP_LINK = 1, MOST_CARDS = 16, CARD_PATIENCE = 2000, TEXT_SIZE = 1024 };

static struct Card cards[MOST_CARDS];
static int network_news = -1;           /* name servers, once it is up */
static u32 nr_vifs;                     /* Xen's cards that were there from the beginning */
static int has_driver;                  /* for them */

static void interface_up(const char *name)
{
    struct InterfaceRequest request;
    s64 fd = call3(SYS_socket, AF_INET, SOCK_DGRAM | O_CLOEXEC, 0);
    memset(&request, 0, sizeof request);
    append(request.name, sizeof request.name, name);
    call3(SYS_ioctl, fd, SIOCGIFFLAGS, &request);
    request.flags |= IFF_UP;
    call3(SYS_ioctl, fd, SIOCSIFFLAGS, &request);
    call1(SYS_close, fd);
}

static void append_address(char *text, u64 size, u32 address)
{
    for (u32 i = 0; i < 4; i++, address >>= 8) {
        append(text, size, i ? "." : "");
        append_number(text, size, address & 255);
    }
}

/* --- cards */

/* Call `each` with the names in a directory; how many there are. */
static u32 names_in(const char *path, const char *start, void (*each)(const char *name))
{
    char buffer[2048] __attribute__((aligned(8)));
    u32 count = 0;
    s64 size, directory = call2(SYS_open, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    while ((size = call3(SYS_getdents64, directory, buffer, sizeof buffer)) > 0)
        for (s64 at = 0; at < size; at += ((struct Entry *)(buffer + at))->length) {
            const char *name = ((struct Entry *)(buffer + at))->name;
            if (is_dots(name) || !starts_with(name, start))
                continue;
            count++;
            if (each)
                each(name);
        }
    call1(SYS_close, directory);
    return count;
}

/* Whether an interface is a card: a device is below it, and that is not a guest's whom we serve. */
static int is_card(const char *name)
{
    char path[64] = "/sys/class/net/", target[256];
    append(path, sizeof path, name);
    append(path, sizeof path, CARD_LINK);
    s64 size = call3(SYS_readlink, path, target, sizeof target - 1);
    if (size <= 0)
        return 0;
    target[size] = 0;
    return !ends_with(target, "/xen-backend");
}

/* Take an interface that is new to us, if it is a card. */
static void take_card(const char *name)
{
    static const int yes = 1;
    struct InternetAddress any = { AF_INET, swap16(68), 0, { 0 } };
    struct InterfaceRequest request;
    struct Card *card = 0;
    memset(&request, 0, sizeof request);
    append(request.name, sizeof request.name, name);
    s64 fd = call3(SYS_socket, AF_INET, SOCK_DGRAM | O_CLOEXEC | O_NONBLOCK, 0);
    int index = call3(SYS_ioctl, fd, SIOCGIFINDEX, &request) < 0 ? 0 : request.number;
    for (struct Card *at = cards; index && at < cards + MOST_CARDS; at++) {
        if (at->state != NOBODY && at->index == index)
            index = 0;
        else if (at->state == NOBODY && !card)
            card = at;
    }
    if (!card || !index || !is_card(name) || call3(SYS_ioctl, fd, SIOCGIFHWADDR, &request) < 0
        || request.hardware.family != ARPHRD_ETHER) {
        call1(SYS_close, fd);
        return;
    }
    memset(card, 0, sizeof *card);
    memcpy(card->name, request.name, sizeof card->name);
    memcpy(card->hardware, request.hardware.bytes, 6);
    card->socket = (int)fd;
    card->packets = -1;
    card->index = index;
    interface_up(name);
    call5(SYS_setsockopt, fd, SOL_SOCKET, SO_BINDTODEVICE, card->name, sizeof card->name);
    call5(SYS_setsockopt, fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    call5(SYS_setsockopt, fd, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes);
    call3(SYS_bind, fd, &any, sizeof any);
    begin_dhcp(card);
}

/* Forget those that are gone; whether there are any. */
static int drop_cards(void)
{
    int dropped = 0;
    for (struct Card *card = cards; card < cards + MOST_CARDS; card++) {
        struct InterfaceRequest request;        /* another one may have its name by now */
        memset(&request, 0, sizeof request);
        memcpy(request.name, card->name, sizeof request.name);
        if (card->state != NOBODY
            && (call3(SYS_ioctl, card->socket, SIOCGIFINDEX, &request) < 0 || request.number != card->index)) {
            call1(SYS_close, card->socket);
            close_packets(card);
            card->state = NOBODY;
            dropped = 1;
        }
    }
    return dropped;
}

/* --- what the system is told */

/* The contents of /etc/resolv.conf. */
static void append_servers(char *text, u64 size)
{
    u32 count = 0;
    for (const struct Card *card = cards; card < cards + MOST_CARDS; card++) {
        if (card->state < BOUND)
            continue;
        if (!count && *card->lease.domain) {
            append(text, size, "search ");
            append(text, size, card->lease.domain);
            append(text, size, "\n");
        }
        for (u32 i = 0; i < card->lease.nr_servers && count < MOST_SERVERS; i++, count++) {
            append(text, size, "nameserver ");
            append_address(text, size, card->lease.servers[i]);
            append(text, size, "\n");
        }
    }
}

/* Name servers go to the RAM disk's file, which is another's as long as there are none. */
static void tell_system(void)
{
    static int is_ours;
    char text[TEXT_SIZE] = "";
    append_servers(text, sizeof text);
    if (*text || is_ours)
        write_file("/etc/resolv.conf", text);
    is_ours |= *text != 0;
}

/* Give the root file system that was mounted these name servers, without writing to it: another file is mounted over
 * its own. */
static void tell_root(const char *text)
{
    static const char path[] = "/etc/resolv.conf", ours[] = "/run/xenia-resolv.conf";
    char target[256] = "/etc/";
    s64 size;
    if (!*text)
        return;
    write_file(ours, text);
    if (call5(SYS_mount, ours, path, 0, MS_BIND, 0) == 0)
        return;
    /* A link into /run, which is empty yet, or no file at all. */
    if ((size = call3(SYS_readlink, path, target + 5, sizeof target - 6)) > 0) {
        target[5 + size] = 0;
        const char *file = target[5] == '/' ? target + 5 : target;
        for (char *at = (char *)file + 1; *at; at++)
            if (*at == '/') {
                *at = 0;
                call2(SYS_mkdir, file, 0755);
                *at = '/';
            }
    }
    write_file(path, text);
}

/* --- the process */

/* Whether all cards that there were from the beginning have what they can get soon. */
static int is_settled(u32 expected)
{
    u32 count = 0;
    for (const struct Card *card = cards; card < cards + MOST_CARDS; card++) {
        if ((card->state == SELECTING || card->state == REQUESTING) && card->tries <= FIRST_TRIES)
            return 0;
        count += card->state != NOBODY;
    }
    return count >= expected;
}

static void complain(void)
{
    for (const struct Card *card = cards; card < cards + MOST_CARDS; card++)
        if (card->state == SELECTING || card->state == REQUESTING) {
            char line[128] = "xenia: ";
            append(line, sizeof line, card->name);
            append(line, sizeof line, ": no DHCP server answers; it has no IPv4 address yet\n");
            say(2, line);
        }
}

/* Say that it is up, or will not be soon, and which name servers there are. */
static void give_news(int news)
{
    char text[TEXT_SIZE] = "";
    append_servers(text, sizeof text);
    complain();
    write_all(news, text, length_of(text));
    call1(SYS_close, news);
}

static void __attribute__((noreturn)) keep_network(int links, int news, u32 expected)
{
    static u8 message[8192];
    enum { LINKS = 2 * MOST_CARDS };
    struct { int fd; short events, revents; } wait[LINKS + 1];
    u64 limit = now() + CARD_PATIENCE;
    names_in("/sys/class/net", "", take_card);
    for (;;) {
        u64 time = now(), next = news >= 0 ? limit : ~0UL;
        wait[LINKS].fd = links, wait[LINKS].events = POLLIN;
        for (u32 i = 0; i < MOST_CARDS; i++) {
            struct Card *card = &cards[i];
            if (card->state >= BOUND && news < 0)
                close_packets(card);    /* which waits for the kernel's other processors: the agent does not */
            if (card->state != NOBODY && time >= card->next)
                go_on(card, time);
            wait[2 * i].fd = card->state == NOBODY ? -1 : card->socket, wait[2 * i].events = POLLIN;
            wait[2 * i + 1].fd = card->state == NOBODY ? -1 : card->packets, wait[2 * i + 1].events = POLLIN;
            if (card->state != NOBODY && card->next < next)
                next = card->next;
        }
        if (news >= 0 && (is_settled(expected) || time >= limit)) {
            give_news(news);
            news = -1;
            continue;
        }
        u64 left = next > time ? next - time : 0;
        call3(SYS_poll, wait, LINKS + 1, next == ~0UL ? -1 : (int)(left < 1000000 ? left : 1000000));
        if (wait[LINKS].revents) {
            while (call6(SYS_recvfrom, links, message, sizeof message, MSG_DONTWAIT, 0, 0) > 0)
                ;
            if (drop_cards())
                tell_system();
            names_in("/sys/class/net", "", take_card);
        }
        for (u32 i = 0; i < MOST_CARDS; i++)
            if (cards[i].state != NOBODY && (wait[2 * i].revents || wait[2 * i + 1].revents)) {
                enum State before = cards[i].state;
                hear(&cards[i]);
                if (cards[i].state == BOUND && before != BOUND)
                    tell_system();
            }
    }
}

/* Before modules are loaded: cards that come up from now on need no look for duplicates. */
static void prepare_network(void)
{
    interface_up("lo");
    nr_vifs = names_in("/sys/bus/xen/devices", "vif-", 0);
    has_driver = call4(SYS_faccessat, AT_FDCWD, "/sys/bus/xen/drivers/vif", 0, 0) == 0;
    write_file("/proc/sys/net/ipv6/conf/default/accept_dad", "0");
}

/* Let the cards be configured, where there are any. */
static void begin_network(void)
{
    struct { u16 family, pad; u32 process, groups; } address = { AF_NETLINK, 0, 0, RTMGRP_LINK };
    int pipe[2];
    u32 expected = has_driver ? nr_vifs : 0;
    if (nr_vifs && !has_driver)
        say(2, "xenia: this kernel has no driver for its network card (xen-netfront)\n");
    if (!expected && names_in("/sys/class/net", "", 0) < 2 && call4(SYS_faccessat, AT_FDCWD, "/sys/bus/xen", 0, 0) < 0)
        return;
    s64 links = call3(SYS_socket, AF_NETLINK, SOCK_RAW | O_CLOEXEC, NETLINK_ROUTE);
    call3(SYS_bind, links, &address, sizeof address);
    call2(SYS_pipe2, pipe, O_CLOEXEC);
    if (call0(SYS_fork) == 0) {
        call1(SYS_close, pipe[0]);
        be_agent("xenia-network");
        keep_network((int)links, pipe[1], expected);
    }
    call1(SYS_close, links);
    call1(SYS_close, pipe[1]);
    network_news = pipe[0];
}

/* Wait until they are, or will not be soon.  `in_root` says whether another root file system is in place by now. */
static void await_network(int in_root)
{
    char text[TEXT_SIZE] = "";
    u64 size = 0;
    s64 n;
    if (network_news < 0)
        return;
    while (size + 1 < sizeof text && (n = call3(SYS_read, network_news, text + size, sizeof text - 1 - size)) > 0)
        size += (u64)n;
    text[size] = 0;
    call1(SYS_close, network_news);
    if (in_root)
        tell_root(text);
}
