package main

import (
	"sync"
	"syscall"
	"unsafe"
)

const (
	ringSize       = 4096
	clockMonotonic = 1
)

// Transition is one change of state, at an instant of the machine's monotonic clock.
type Transition struct {
	Seq      uint64 `json:"seq"`
	Breaker  string `json:"breaker"`
	Instance string `json:"instance"`
	Boot     string `json:"boot"`
	From     string `json:"from"`
	To       string `json:"to"`
	AtNs     int64  `json:"at_ns"`
	SinceNs  int64  `json:"since_ns"`
}

// Log is a ring of transitions, numbered from 1 without gaps.
type Log struct {
	settings Settings
	mutex    sync.Mutex
	ring     []Transition
	seq      uint64
	state    string
	grown    chan struct{}
}

// NewLog is empty, of a closed breaker.
func NewLog(settings Settings) *Log {
	return &Log{settings: settings, state: "closed", grown: make(chan struct{})}
}

// Record appends one transition and wakes whoever waits; it never holds up the breaker for longer than that.
func (l *Log) Record(from, to string) {
	now := nowNs()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.seq++
	l.state = to
	l.ring = append(l.ring, Transition{
		Seq: l.seq, Breaker: l.settings.Breaker, Instance: l.settings.Instance, Boot: l.settings.Boot,
		From: from, To: to, AtNs: now, SinceNs: now,
	})
	if len(l.ring) > ringSize {
		l.ring = l.ring[1:]
	}
	close(l.grown)
	l.grown = make(chan struct{})
}

// State is where the newest transition led.
func (l *Log) State() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.state
}

// LastSeq is the number of the newest transition, 0 before the first.
func (l *Log) LastSeq() uint64 {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.seq
}

// After gives what is newer than seq, and a channel that closes with the next transition.
func (l *Log) After(seq uint64) ([]Transition, <-chan struct{}) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for i, transition := range l.ring {
		if transition.Seq > seq {
			return append([]Transition(nil), l.ring[i:]...), l.grown
		}
	}
	return nil, l.grown
}

// nowNs reads CLOCK_MONOTONIC, which time.Now carries but does not show.
func nowNs() int64 {
	var now syscall.Timespec
	_, _, _ = syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&now)), 0)
	return now.Nano()
}
