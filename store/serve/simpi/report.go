package simpi

import (
	"fmt"
	"slices"
	"time"

	"piimg/store"
)

// Stage is the program on the board that sends a request.
type Stage string

const (
	StageROM      Stage = "rom"    // the boot ROM of a Pi 3
	StageBootcode Stage = "boot"   // bootcode.bin of a Pi 3
	StageEEPROM   Stage = "eeprom" // the bootloader in the flash memory of a Pi 4 or 5
	StageStart    Stage = "start"  // start.elf of a Pi 3
	StageFirmware Stage = "start4" // start4.elf
)

// Kind is what a board wants of a request.
type Kind string

const (
	Probe         Kind = "probe"          // to see whether the file exists
	Get           Kind = "get"            // the whole file
	ExpectMissing Kind = "expect-missing" // a file that a healthy image does not have
)

// Result is how a request ended for the board.
type Result string

const (
	Found   Result = "found"
	Missing Result = "missing" // the server said so, with an error of any code
	Timeout Result = "timeout" // silent, or not done within the file timeout
	Short   Result = "short"   // broken off, or of another size than promised
	Refused Result = "refused" // the board cannot use what the server proposes
)

// Violation is something that the server did against what a board needs.
type Violation string

const (
	NoOACK        Violation = "no-oack"         // data at once, though options were asked for
	NoTsize       Violation = "no-tsize"        // the acknowledgement holds no size
	ZeroTsize     Violation = "zero-tsize"      // a size of 0 for a file that has bytes
	WrongTsize    Violation = "wrong-tsize"     // another size than was sent
	NoBlksize     Violation = "no-blksize"      // the block size was not acknowledged
	BadBlksize    Violation = "bad-blksize"     // larger than was asked for
	BadOption     Violation = "bad-option"      // an option that was not asked for, or no number
	TooManyBlocks Violation = "too-many-blocks" // more than 65535, for a board that cannot count on
	Malformed     Violation = "malformed"       // no TFTP packet that a client can be sent
)

// Outcome is how a boot ended.
type Outcome string

const (
	Started          Outcome = "started"         // the kernel, or a stub of its own, has been loaded
	RamdiskLoaded    Outcome = "boot.img loaded" // what is inside is not simulated
	FirmwareNotFound Outcome = "firmware not found"
	KernelNotFound   Outcome = "kernel not found"
	Interrupted      Outcome = "interrupted"
)

// Request is one file that the board asked for.
type Request struct {
	Attempt    int           `json:"attempt"` // from 1 on
	Stage      Stage         `json:"stage"`
	Kind       Kind          `json:"kind"`
	Name       string        `json:"name"`     // without the board's prefix
	Path       string        `json:"path"`     // as it was sent
	Required   bool          `json:"required"` // a usable boot needs the file
	Result     Result        `json:"result"`
	Start      time.Duration `json:"start_ns"` // since the boot began
	Duration   time.Duration `json:"duration_ns"`
	Answer     time.Duration `json:"answer_ns,omitempty"` // until the server's first packet
	Bytes      int64         `json:"bytes"`               // received
	Tsize      int64         `json:"tsize,omitempty"`     // bytes that the server promised
	Blksize    int           `json:"blksize,omitempty"`
	Digest     store.Digest  `json:"digest,omitzero"` // of a file that came whole
	Resends    int           `json:"resends,omitempty"`
	Duplicates int           `json:"duplicates,omitempty"` // packets that came again
	Strays     int           `json:"strays,omitempty"`     // packets from another port
	Violations []Violation   `json:"violations,omitempty"`
	ErrorCode  uint16        `json:"error_code,omitempty"` // of the server's ERROR
	ErrorText  string        `json:"error_text,omitempty"`
}

func (r *Request) violated(v Violation) {
	if !r.has(v) {
		r.Violations = append(r.Violations, v)
	}
}

func (r *Request) has(v Violation) bool { return slices.Contains(r.Violations, v) }

func (r *Request) file() File {
	if r.Result != Found {
		return File{}
	}
	return File{Name: r.Name, Digest: r.Digest, Bytes: r.Bytes}
}

// File is a file that came whole.
type File struct {
	Name   string       `json:"name"`
	Digest store.Digest `json:"digest"`
	Bytes  int64        `json:"bytes"`
}

// Overlay is a dtoverlay of config.txt and the file that was loaded for it.
type Overlay struct {
	Name string `json:"name"`          // as config.txt has it
	File File   `json:"file,omitzero"` // the zero File where it could not be loaded
}

// Resolved is what the board would run.
type Resolved struct {
	Start      File      `json:"start,omitzero"`
	Fixup      File      `json:"fixup,omitzero"`
	Kernel     File      `json:"kernel,omitzero"`
	DTB        File      `json:"dtb,omitzero"`
	Stub       File      `json:"stub,omitzero"` // what starts the kernel, where it is not the firmware's own
	Overlays   []Overlay `json:"overlays,omitempty"`
	Initramfs  []File    `json:"initramfs,omitempty"` // loaded one after the other
	Cmdline    string    `json:"cmdline,omitempty"`
	Ramdisk    File      `json:"ramdisk,omitzero"`
	PrefixLeft bool      `json:"prefix_left,omitempty"` // the board went on in the server's root
}

// Report is what a board saw.
type Report struct {
	Model    string        `json:"model"`
	Serial   string        `json:"serial"` // 8 hexadecimal digits
	Server   string        `json:"server"`
	Prefix   string        `json:"prefix"` // that the board began with
	Outcome  Outcome       `json:"outcome"`
	Attempts int           `json:"attempts"`
	Requests []Request     `json:"requests"` // of all attempts, in order
	Bytes    int64         `json:"bytes"`    // of all requests
	Duration time.Duration `json:"duration_ns"`
	Findings []Problem     `json:"problems"`
	Resolved               // by the last attempt
}

// Problems are what is wrong with the server, the image or the network, errors first.
func (r *Report) Problems() []Problem { return r.Findings }

// OK says whether the board started and nothing worse than a warning was found.
func (r *Report) OK() bool {
	done := r.Outcome == Started || r.Outcome == RamdiskLoaded
	return done && !slices.ContainsFunc(r.Findings, func(p Problem) bool { return p.Severity == Error })
}

// Files are the digests of the files that the last attempt read whole, by their names
// without the board's prefix. Of a file that changed meanwhile it is the last reading.
func (r *Report) Files() map[string]store.Digest {
	files := map[string]store.Digest{}
	for _, req := range r.Requests {
		if req.Attempt == r.Attempts && req.Kind != Probe && req.Result == Found {
			files[req.Name] = req.Digest
		}
	}
	return files
}

// conclude takes over what an attempt found.
func (r *Report) conclude(s *session, outcome Outcome) {
	r.Outcome, r.Attempts, r.Resolved = outcome, s.attempt, s.resolved
	requests := r.ofAttempt(s.attempt)
	for _, req := range requests {
		r.Bytes += req.Bytes
	}
	r.Findings = append(r.Findings, s.findings...)
	r.Findings = append(r.Findings, judge(s.board, requests)...)
	slices.SortStableFunc(r.Findings, worstFirst)
}

// demote turns the errors of an attempt that is made again into warnings.
func (r *Report) demote(attempt int) {
	for i, p := range r.Findings {
		if p.Severity == Error {
			r.Findings[i].Severity = Warning
			r.Findings[i].What = fmt.Sprintf("attempt %d: %s", attempt, p.What)
		}
	}
}

func (r *Report) ofAttempt(n int) []Request {
	first := slices.IndexFunc(r.Requests, func(req Request) bool { return req.Attempt == n })
	if first < 0 {
		return nil
	}
	return r.Requests[first:]
}
