package options

import "strconv"

// Duration is a time in nanoseconds, as time.Duration is, and converts from and to it. Package time itself would add a
// tenth to the size of the init.
type Duration int64

const (
	Nanosecond  Duration = 1
	Microsecond          = 1000 * Nanosecond
	Millisecond          = 1000 * Microsecond
	Second               = 1000 * Millisecond
	Minute               = 60 * Second
	Hour                 = 60 * Minute
)

// String is the form that the flags use: 45s, 1m30s, 0.5s.
func (d Duration) String() string {
	text := ""
	if d >= Hour {
		text += strconv.FormatInt(int64(d/Hour), 10) + "h"
	}
	if minutes := d % Hour / Minute; minutes > 0 {
		text += strconv.FormatInt(int64(minutes), 10) + "m"
	}
	if seconds := d % Minute; seconds > 0 || text == "" {
		text += strconv.FormatInt(int64(seconds/Second), 10)
		if fraction := seconds % Second; fraction > 0 {
			digits := strconv.FormatInt(int64(Second+fraction), 10)[1:]
			for digits[len(digits)-1] == '0' {
				digits = digits[:len(digits)-1]
			}
			text += "." + digits
		}
		text += "s"
	}
	return text
}
