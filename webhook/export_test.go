package webhook

import "time"

// DrainUntil has the server drain until over is closed, instead of for the time Drain.
func (s *Server) DrainUntil(over <-chan time.Time) { s.drained = over }
