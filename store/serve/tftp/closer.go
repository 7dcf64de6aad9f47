package tftp

import "sync"

// closer lets go of files on a goroutine of its own and in order: the front end writes
// to its disk then.
type closer struct {
	mu   sync.Mutex
	todo []ended
	more *sync.Cond
	stop bool
	done chan struct{}
}

func newCloser() *closer {
	c := &closer{done: make(chan struct{})}
	c.more = sync.NewCond(&c.mu)
	go c.run()
	return c
}

func (c *closer) close(files []ended) {
	if len(files) == 0 {
		return
	}
	c.mu.Lock()
	c.todo = append(c.todo, files...)
	c.mu.Unlock()
	c.more.Signal()
}

func (c *closer) run() {
	defer close(c.done)
	for {
		c.mu.Lock()
		for len(c.todo) == 0 && !c.stop {
			c.more.Wait()
		}
		todo := c.todo
		c.todo = nil
		c.mu.Unlock()
		if len(todo) == 0 {
			return
		}
		for _, e := range todo {
			e.file.Done(e.result, e.bytes)
			e.file.Close()
		}
	}
}

// wait returns when all files are closed. Nothing may follow.
func (c *closer) wait() {
	c.mu.Lock()
	c.stop = true
	c.mu.Unlock()
	c.more.Signal()
	<-c.done
}
