// Command conformance is a breaker service around a breaker library of Go: `conformance gobreaker` or `conformance failsafe-go`.
//
// The library decides; what stands here is the same for all of them: GET /call, /breakers, /breakers/events, a ready line, and
// the end on SIGTERM or when standard input ends. Each call to the upstream has a connection of its own, and its context ends at
// the time limit or when the caller goes away.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	leave     = 500 * time.Millisecond
	keepAlive = time.Second
)

// Settings say what is asked of the breaker.
type Settings struct {
	Library    string
	Upstream   string
	Breaker    string
	Failures   uint
	Wait       time.Duration
	Permitted  uint
	Successes  uint
	Timeout    time.Duration
	Instance   string
	Boot       string
	listenAddr string
}

// Breaker is what a service asks of a library, whichever it is.
type Breaker interface {
	// Guard runs the call, or does not; errRejected if, and only if, it was refused.
	Guard(call func() error) error
	// State is closed, open or half_open; reading it changes nothing.
	State() string
}

var (
	errRejected       = errors.New("the breaker refused")
	errUpstreamFailed = errors.New("the dependency failed")
)

// libraries make a closed breaker each, or say what they cannot be configured to do.
var libraries = map[string]func(Settings, *Log) (Breaker, error){
	"gobreaker":   newGobreaker,
	"failsafe-go": newFailsafe,
}

func main() {
	settings, err := read(os.Args, os.Getenv)
	if err == nil {
		err = serve(settings)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func read(arguments []string, getenv func(string) string) (Settings, error) {
	if len(arguments) != 2 || libraries[arguments[1]] == nil {
		return Settings{}, errors.New("usage: conformance gobreaker|failsafe-go")
	}
	if getenv("UPSTREAM") == "" {
		return Settings{}, errors.New("UPSTREAM is not set")
	}
	text := func(name, fallback string) string {
		if value := getenv(name); value != "" {
			return value
		}
		return fallback
	}
	var wrong error
	whole := func(name, fallback string) uint {
		value, err := strconv.ParseUint(text(name, fallback), 10, 31)
		if err != nil || value < 1 {
			wrong = fmt.Errorf("%s=%q is not a whole number above 0", name, getenv(name))
		}
		return uint(value)
	}
	boot := make([]byte, 6)
	if _, err := rand.Read(boot); err != nil {
		return Settings{}, err
	}
	return Settings{
		Library:    arguments[1],
		Upstream:   strings.TrimRight(getenv("UPSTREAM"), "/"),
		Breaker:    text("BREAKER", "dependency"),
		Failures:   whole("FAILURES", "3"),
		Wait:       time.Duration(whole("WAIT_MS", "1000")) * time.Millisecond,
		Permitted:  whole("PERMITTED", "1"),
		Successes:  whole("SUCCESSES", "1"),
		Timeout:    time.Duration(whole("CALL_TIMEOUT_MS", "300")) * time.Millisecond,
		Instance:   text("INSTANCE", "service-1"),
		Boot:       hex.EncodeToString(boot),
		listenAddr: text("LISTEN", "127.0.0.1:0"),
	}, wrong
}

// Service answers the routes.
type Service struct {
	settings Settings
	breaker  Breaker
	log      *Log
	client   *http.Client
}

func serve(settings Settings) error {
	log := NewLog(settings)
	breaker, err := libraries[settings.Library](settings, log)
	if err != nil {
		return err
	}
	service := &Service{
		settings: settings,
		breaker:  breaker,
		log:      log,
		// A pooled connection that has died in the meantime would fail without a request on the wire.
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
	}
	routes := http.NewServeMux()
	routes.HandleFunc("GET /call", service.call)
	routes.HandleFunc("GET /breakers", service.breakers)
	routes.HandleFunc("GET /breakers/events", service.events)
	listener, err := net.Listen("tcp", settings.listenAddr)
	if err != nil {
		return err
	}
	told, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	server := &http.Server{Handler: routes, BaseContext: func(net.Listener) context.Context { return told }}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	ready, err := json.Marshal(map[string]any{
		"ready": true, "service": settings.Library, "instance": settings.Instance, "boot": settings.Boot,
		"pid": os.Getpid(), "url": "http://" + listener.Addr().String(),
	})
	if err != nil {
		return err
	}
	fmt.Println(string(ready))
	select {
	case <-told.Done():
	case <-ended:
	case err := <-failed:
		return err
	}
	stop()
	within, cancel := context.WithTimeout(context.Background(), leave)
	defer cancel()
	if server.Shutdown(within) != nil {
		return server.Close() // what still ran after that time is cut off
	}
	return nil
}

func (s *Service) call(answer http.ResponseWriter, request *http.Request) {
	err := s.breaker.Guard(func() error { return s.ask(request) })
	status, word := http.StatusBadGateway, "failed"
	switch {
	case err == nil:
		status, word = http.StatusOK, "ok"
	case errors.Is(err, errRejected):
		status, word = http.StatusServiceUnavailable, "rejected"
	}
	answer.Header().Set("X-Breaker", word)
	answer.Header().Set("X-Instance", s.settings.Instance)
	answer.WriteHeader(status)
	_, _ = io.WriteString(answer, word+"\n")
}

func (s *Service) ask(request *http.Request) error {
	limited, cancel := context.WithTimeout(request.Context(), s.settings.Timeout)
	defer cancel()
	upstream, err := http.NewRequestWithContext(limited, http.MethodGet, s.settings.Upstream+"/", nil)
	if err != nil {
		return err
	}
	if id := request.Header.Get("X-Request-Id"); id != "" {
		upstream.Header.Set("X-Request-Id", id)
	}
	got, err := s.client.Do(upstream)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	if _, err := io.Copy(io.Discard, got.Body); err != nil {
		return err
	}
	if got.StatusCode >= 500 {
		return errUpstreamFailed
	}
	return nil
}

func (s *Service) breakers(answer http.ResponseWriter, _ *http.Request) {
	set := s.settings
	spec := map[string]any{
		"dialect": set.Library, "failures": set.Failures, "wait_ms": set.Wait.Milliseconds(),
		"timeout_ms": set.Timeout.Milliseconds(), "permitted": set.Permitted, "successes": set.Successes,
	}
	reply(answer, http.StatusOK, map[string]any{
		"instance": set.Instance, "boot": set.Boot,
		"breakers": map[string]any{set.Breaker: map[string]any{"state": s.breaker.State(), "spec": spec}},
		"last_seq": s.log.LastSeq(), "now_ns": nowNs(),
	})
}

func (s *Service) events(answer http.ResponseWriter, request *http.Request) {
	asked := request.URL.Query().Get("since")
	if asked == "" {
		asked = request.Header.Get("Last-Event-ID")
	}
	if asked == "" {
		asked = "0"
	}
	seq, err := strconv.ParseUint(asked, 10, 63)
	if err != nil {
		reply(answer, http.StatusBadRequest, map[string]any{"error": "since must be a whole number"})
		return
	}
	boot := request.URL.Query().Get("boot")
	if seq > s.log.LastSeq() || (boot != "" && boot != s.settings.Boot) {
		seq = 0 // a number of an earlier start: everything here is news to this reader
	}
	answer.Header().Set("Content-Type", "text/event-stream")
	answer.Header().Set("Cache-Control", "no-store")
	answer.Header().Set("X-Instance", s.settings.Instance)
	fmt.Fprintf(answer, ": %s %s\n\n", s.settings.Instance, s.settings.Boot)
	flush := http.NewResponseController(answer)
	for flush.Flush() == nil {
		fresh, grown := s.log.After(seq)
		for _, event := range fresh {
			seq = event.Seq
			data, err := json.Marshal(event)
			if err != nil {
				return
			}
			fmt.Fprintf(answer, "id: %d\ndata: %s\n\n", seq, data)
		}
		if len(fresh) > 0 {
			continue
		}
		select {
		case <-request.Context().Done():
			return
		case <-grown:
		case <-time.After(keepAlive):
			fmt.Fprintf(answer, ": %d\n\n", nowNs())
		}
	}
}

func reply(answer http.ResponseWriter, status int, value map[string]any) {
	answer.Header().Set("Content-Type", "application/json")
	answer.WriteHeader(status)
	_ = json.NewEncoder(answer).Encode(value)
}
