// SPDX-License-Identifier: Apache-2.0

package qemu

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Bounds of a console.
const (
	maxConsoleLog     = 256 << 10 // bytes of console.log; as much again is kept of what was before
	maxConsoleClients = 8
	consoleHistory    = 4 << 10 // bytes that a new client sees of what was said before
	clientQueue       = 64      // pieces that a slow client may be behind before it is cut off
)

// console spreads what a board says to a bounded file and to TCP clients, and what they type to the board.
type console struct {
	listener net.Listener
	log      boundedFile

	mu      sync.Mutex
	board   io.Writer // nil while no board is connected
	clients map[net.Conn]chan []byte
	history []byte
	closed  bool
	done    sync.WaitGroup
}

// openConsole listens at address, which must be a loopback one.
func openConsole(address, dir string) (*console, error) {
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("console address %q is not a loopback address and port", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, problem(ReasonConsoleBusy, "the console cannot listen at %s: %v", address, err)
	}
	c := &console{listener: listener, clients: map[net.Conn]chan []byte{}, log: boundedFile{path: filepath.Join(dir, "console.log")}}
	c.done.Add(1)
	go c.accept()
	return c, nil
}

func (c *console) accept() {
	defer c.done.Done()
	for {
		conn, err := c.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of file descriptors: it passes
			continue
		}
		c.welcome(conn)
	}
}

func (c *console) welcome(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.clients) >= maxConsoleClients {
		conn.Close()
		return
	}
	queue := make(chan []byte, clientQueue)
	queue <- append([]byte(nil), c.history...)
	c.clients[conn] = queue
	c.done.Add(2)
	go c.write(conn, queue)
	go c.read(conn)
}

func (c *console) write(conn net.Conn, queue chan []byte) {
	defer c.done.Done()
	for b := range queue {
		if err := conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err != nil {
			break
		}
		if _, err := conn.Write(b); err != nil {
			break
		}
	}
	conn.Close()
	for range queue { // until drop closes it
	}
}

func (c *console) read(conn net.Conn) {
	defer c.done.Done()
	defer c.drop(conn)
	buf := make([]byte, 256)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			c.mu.Lock()
			board := c.board
			c.mu.Unlock()
			if board != nil {
				_, _ = board.Write(buf[:n])
			}
		}
		if err != nil {
			return
		}
	}
}

func (c *console) drop(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if queue, ok := c.clients[conn]; ok {
		delete(c.clients, conn)
		close(queue)
	}
	conn.Close()
}

// attach carries a board's console until its connection ends.
func (c *console) attach(conn net.Conn) {
	c.mu.Lock()
	c.board = deadlined{conn}
	c.mu.Unlock()
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if n > 0 {
			c.said(append([]byte(nil), buf[:n]...))
		}
		if err != nil {
			break
		}
	}
	c.mu.Lock()
	c.board = nil
	c.mu.Unlock()
}

func (c *console) said(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log.append(b)
	c.history = append(c.history, b...)
	c.history = c.history[max(0, len(c.history)-consoleHistory):]
	for conn, queue := range c.clients {
		select {
		case queue <- b:
		default: // too slow: it can connect anew
			delete(c.clients, conn)
			close(queue)
			conn.Close()
		}
	}
}

func (c *console) close() {
	c.listener.Close()
	c.mu.Lock()
	c.closed = true
	for conn, queue := range c.clients {
		delete(c.clients, conn)
		close(queue)
		conn.Close()
	}
	c.log.close()
	c.mu.Unlock()
	c.done.Wait()
}

// deadlined keeps a stopped board from blocking those who type.
type deadlined struct{ conn net.Conn }

func (d deadlined) Write(b []byte) (int, error) {
	if err := d.conn.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
		return 0, err
	}
	return d.conn.Write(b)
}

// boundedFile is a log of at most twice maxConsoleLog bytes in two files.
type boundedFile struct {
	path string
	file *os.File
	size int64
}

// append writes b; a full disk costs the log, not the board.
func (f *boundedFile) append(b []byte) {
	if f.file == nil {
		file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return
		}
		f.file = file
		if info, err := file.Stat(); err == nil {
			f.size = info.Size()
		}
	}
	if f.size+int64(len(b)) > maxConsoleLog {
		f.close()
		if os.Rename(f.path, f.path+".1") == nil {
			f.append(b)
		}
		return
	}
	n, _ := f.file.Write(b)
	f.size += int64(n)
}

func (f *boundedFile) close() {
	if f.file != nil {
		f.file.Close()
		f.file, f.size = nil, 0
	}
}
