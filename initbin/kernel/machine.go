//go:build !arm

package kernel

// ARM is the version of a 32-bit ARM, 0 on this architecture.
func ARM() int { return 0 }
