package options

import (
	"strconv"
	"unsafe"
)

// Args prints o as flags: what Parse needs on top of Default to give o back, in a fixed order, without "--".
func (o Options) Args() []string {
	args := []string{}
	for i := range flags {
		f := &flags[i]
		for _, value := range f.values(&o) {
			switch {
			case f.printed == byLetter && f.value == "":
				args = append(args, "-"+f.letter)
			case f.printed == byLetter:
				args = append(args, "-"+f.letter, value)
			case f.value == "":
				args = append(args, "--"+f.name)
			default:
				args = append(args, "--"+f.name+"="+value)
			}
		}
	}
	return args
}

// values are what the flag has to be given to make its field of Default that of o, one for each time; those of a flag
// that takes no value are empty.
func (f *flag) values(o *Options) (values []string) {
	d := Default()
	field, before := unsafe.Add(unsafe.Pointer(o), f.field), unsafe.Add(unsafe.Pointer(&d), f.field)
	if f.printed == never {
		return nil
	}
	// Nothing is made into text before it is known to differ: most flags are not given.
	switch f.kind {
	case kindConstant:
		if *(*uint8)(field) == f.sets {
			values = append(values, "")
		}
	case kindChoice:
		if chosen := *(*uint8)(field); chosen != 0 {
			values = append(values, f.choices[chosen])
		}
	case kindCount:
		for range *(*uint8)(field) {
			values = append(values, "")
		}
	case kindDuration:
		if d := *(*Duration)(field); d != *(*Duration)(before) {
			values = append(values, d.String())
		}
	case kindSignal:
		if signal := *(*Signal)(field); signal != 0 {
			values = append(values, signal.String())
		}
	case kindExitCode:
		if codes := *(*Codes)(field); codes != (Codes{}) {
			for code := range 256 {
				if codes.Has(uint8(code)) {
					values = append(values, strconv.Itoa(code))
				}
			}
		}
	case kindRewrite:
		for from, to := range *(*Rewrites)(field) {
			if to != 0 {
				values = append(values, Signal(from).String()+":"+Signal(to-1).String())
			}
		}
	case kindPath, kindDigest, kindFile:
		if text := *(*string)(field); text != "" {
			values = append(values, text)
		}
	}
	return values
}

// String prints the flag of a platform; its words follow.
func (p Platform) String() string {
	flag := platformFlag + "=" + p.Name + ":" + strconv.Itoa(p.Words)
	if p.StopSignal != 0 {
		flag += ":" + p.StopSignal.String()
	}
	return flag
}
