package registry

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
)

// forbiddenAddress is an address that is not connected to.
type forbiddenAddress struct {
	address netip.Addr
	why     string
}

func (f *forbiddenAddress) Error() string {
	return fmt.Sprintf("it is at %s, %s", f.address, f.why)
}

// metadata are the addresses of clouds' metadata services that are not link-local, each from its provider's
// documentation or from the data source that cloud-init has for it. Those inside fd00::/8 are refused also where that
// range is allowed.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("fd00:100::100:200/128"), // Alibaba Cloud
	netip.MustParsePrefix("168.63.129.16/32"),       // Azure
	netip.MustParsePrefix("fd00:ec2::/32"),          // AWS: metadata, EKS Pod Identity, DNS and NTP
	netip.MustParsePrefix("fd20:ce::254/128"),       // Google Cloud
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle Cloud; classic: 192.0.0.192, in never
	netip.MustParsePrefix("fd00:42::42/128"),        // Scaleway
	netip.MustParsePrefix("fd00:a9fe:a9fe::/64"),    // Akamai
}

// never are further addresses that no registry is at: this network, IETF assignments, reserved ones, and IPv6 addresses
// that stand for an IPv4 address without a translator (RFC 4291 2.5.5.1, deprecated), except ::1.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),
}

// private are addresses besides loopback, RFC 1918 and RFC 4193 that only a network itself can reach: carriers' and
// clouds' (RFC 6598), those for measuring (RFC 2544, RFC 5180), site-local ones (RFC 3879), NAT64 of one's own
// (RFC 8215) and segment routing (RFC 9602).
var private = []netip.Prefix{
	netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("198.18.0.0/15"), netip.MustParsePrefix("2001:2::/48"),
	netip.MustParsePrefix("fec0::/10"), ownNAT64, netip.MustParsePrefix("5f00::/16"),
}

// ownNAT64 is where networks have NAT64 prefixes of their own, of any length from 48 to 96 bits (RFC 8215).
var ownNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")

// wrapping are IPv6 addresses that stand for an IPv4 address, and how to read it.
var wrapping = []struct {
	prefix netip.Prefix
	at     [4]int
	// mask is what the bytes are XORed with.
	mask byte
}{
	{netip.MustParsePrefix("64:ff9b::/96"), [4]int{12, 13, 14, 15}, 0},      // NAT64, RFC 6052 2.1
	{netip.MustParsePrefix("::ffff:0:0:0/96"), [4]int{12, 13, 14, 15}, 0},   // SIIT, RFC 2765
	{netip.MustParsePrefix("2002::/16"), [4]int{2, 3, 4, 5}, 0},             // 6to4, RFC 3056
	{netip.MustParsePrefix("2001::/32"), [4]int{4, 5, 6, 7}, 0},             // Teredo's server, RFC 4380 4
	{netip.MustParsePrefix("2001::/32"), [4]int{12, 13, 14, 15}, 0xff},      // Teredo's client
	{ownNAT64, [4]int{6, 7, 9, 10}, 0}, {ownNAT64, [4]int{7, 9, 10, 11}, 0}, // RFC 6052 2.2: by the prefix' length
	{ownNAT64, [4]int{9, 10, 11, 12}, 0}, {ownNAT64, [4]int{12, 13, 14, 15}, 0},
}

// check says whether an address may be connected to, given the private networks that may be.
func check(address netip.Addr, allowed []netip.Prefix) error {
	address = address.Unmap().WithZone("")
	wrapped := unwrap(address)
	if isNever(address) || slices.ContainsFunc(wrapped, isMetadata) {
		return &forbiddenAddress{address, "which podinit never connects to: it is link-local, a metadata service or not a host"}
	}
	if contains(allowed, address) {
		return nil
	}
	if address.IsPrivate() || address.IsLoopback() || contains(private, address) {
		return &forbiddenAddress{address, "which is private, and not in privateNetworks"}
	}
	for _, inner := range wrapped {
		if err := check(inner, allowed); err != nil {
			return err
		}
	}
	return nil
}

// unwrap is every IPv4 address that an IPv6 address may stand for.
func unwrap(address netip.Addr) []netip.Addr {
	if address.Is4() {
		return nil
	}
	var all []netip.Addr
	bytes := address.As16()
	for _, w := range wrapping {
		if w.prefix.Contains(address) {
			var inner [4]byte
			for i, at := range w.at {
				inner[i] = bytes[at] ^ w.mask
			}
			all = append(all, netip.AddrFrom4(inner))
		}
	}
	return all
}

func isNever(address netip.Addr) bool {
	return !address.IsValid() || address.IsMulticast() || isMetadata(address) || contains(never, address) && !address.IsLoopback()
}

// isMetadata says whether clouds have a metadata service there, or may have: most have it at a link-local address.
func isMetadata(address netip.Addr) bool {
	return address.IsLinkLocalUnicast() || contains(metadata, address)
}

func contains(prefixes []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(address) })
}

// networksKey is the key of a context that has the private networks, as []netip.Prefix, that its request may connect to.
type networksKey struct{}

// control is a net.Dialer's ControlContext, which sees each address after names are resolved and before it is connected
// to: no name, redirect, challenge or second answer of a DNS server gets around it.
func control(ctx context.Context, _, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("reading the address %q: %w", address, err)
	}
	allowed, _ := ctx.Value(networksKey{}).([]netip.Prefix)
	return check(at.Addr(), allowed)
}
