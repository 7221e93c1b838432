package registry

import (
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

// never are addresses that no registry is at, and that something else may be: besides link-local ones, where most
// clouds have their metadata service (169.254.169.254, fd00:ec2::254 on AWS), Alibaba's and Azure's.
var never = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("240.0.0.0/4"), netip.MustParsePrefix("::/128"),
	netip.MustParsePrefix("fd00:ec2::/32"), netip.MustParsePrefix("100.100.100.200/32"), netip.MustParsePrefix("168.63.129.16/32"),
	netip.MustParsePrefix("192.0.0.0/24"),
}

// private are addresses besides loopback, RFC 1918 and RFC 4193 that only a network itself can reach: carriers' and
// clouds' (RFC 6598), and those for measuring (RFC 2544).
var private = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("198.18.0.0/15")}

// wrapping are IPv6 addresses that stand for an IPv4 address, and where in them it is: NAT64 (RFC 6052) and 6to4
// (RFC 3056).
var wrapping = []struct {
	prefix netip.Prefix
	at     int
}{
	{netip.MustParsePrefix("64:ff9b::/96"), 12},
	{netip.MustParsePrefix("2002::/16"), 2},
}

// check says whether an address may be connected to, given the private networks that may be.
func check(address netip.Addr, allowed []netip.Prefix) error {
	address = address.Unmap().WithZone("")
	if slices.ContainsFunc(allowed, func(p netip.Prefix) bool { return p.Contains(address) }) && !isNever(address) {
		return nil
	}
	for _, w := range wrapping {
		if w.prefix.Contains(address) {
			bytes := address.As16()
			if err := check(netip.AddrFrom4([4]byte(bytes[w.at:w.at+4])), allowed); err != nil {
				return err
			}
		}
	}
	switch {
	case isNever(address):
		return &forbiddenAddress{address, "which is never asked: it is link-local, a metadata service or no host"}
	case address.IsPrivate(), address.IsLoopback(), slices.ContainsFunc(private, func(p netip.Prefix) bool { return p.Contains(address) }):
		return &forbiddenAddress{address, "which is private, and in none of privateNetworks"}
	}
	return nil
}

func isNever(address netip.Addr) bool {
	return !address.IsValid() || address.IsUnspecified() || address.IsMulticast() || address.IsLinkLocalUnicast() ||
		slices.ContainsFunc(never, func(p netip.Prefix) bool { return p.Contains(address) })
}

// control is a net.Dialer's Control, which sees each address after names are resolved and before it is connected to:
// no name, redirect, challenge or second answer of a DNS server gets around it.
func control(allowed []netip.Prefix) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		at, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("reading the address %q: %w", address, err)
		}
		return check(at.Addr(), allowed)
	}
}
