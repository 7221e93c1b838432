package main

import "fmt"

// measureStart takes the time from the exec of the init to the first instruction of the main process, which has no libc
// to start, and subtracts the same without an init.
func (b *bench) measureStart() ([]row, error) {
	rounds, repeats := b.rounds(5, 100)
	preferred(0, true)
	defer preferred(0, false)
	var rows []row
	for _, processors := range [][]int{b.processors[1:], b.processors[:]} {
		f, err := b.interleave(rounds, repeats, append(b.contenders(), withoutInit), median, func(c contender) (float64, error) {
			return b.startOnce(c, processors)
		})
		if err != nil {
			return nil, err
		}
		name := fmt.Sprintf("start, over no init, %d CPU", len(processors))
		rows = append(rows, row{name: name, unit: "µs", figures: f.over(withoutInit.name), budget: belowBest(0.5), drawing: bars})
	}
	return rows, nil
}

func (b *bench) startOnce(contender contender, processors []int) (microseconds float64, err error) {
	c, err := b.prepare(contender.command(b.program, "exit")...)
	if err != nil {
		return 0, err
	}
	if err := runOn(c.pid, processors...); err != nil {
		c.kill()
		return 0, err
	}
	if err := c.open(); err != nil {
		c.kill()
		return 0, err
	}
	// The reports are read only when all is over, so that this program does not run in between.
	if _, err := c.process.Wait(); err != nil {
		return 0, err
	}
	defer c.close()
	began, err := c.next(lifetime)
	if err != nil {
		return 0, err
	}
	reached, err := c.next(lifetime)
	if err != nil {
		return 0, err
	}
	return float64(reached-began) / 1e3, nil
}
