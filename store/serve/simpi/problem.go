package simpi

import (
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Severity says whether a board would fail.
type Severity string

const (
	Error   Severity = "error"   // a board does not boot, or boots something else than intended
	Warning Severity = "warning" // it boots, later or with luck
)

// Problem is one thing that is wrong, in words for the one who runs the server.
type Problem struct {
	Severity Severity `json:"severity"`
	What     string   `json:"what"`
	Hint     string   `json:"hint,omitempty"` // what to do about it
}

// judge finds what is wrong in the requests of one attempt.
func judge(b Board, requests []Request) []Problem {
	var ps []Problem
	nothing := gotNothing(requests)
	for _, req := range requests {
		p, ok := judgeResult(b, req)
		if ok && nothing {
			p.Hint = "check this board's assignment and the server's default environment; else " + req.Name + " is not in the image"
		}
		if ok && !slices.Contains(ps, p) {
			ps = append(ps, p)
		}
	}
	return slices.Concat(ps, judgeViolations(requests), judgeChanges(requests), judgeNetwork(requests))
}

// gotNothing says whether the server has no file at all for the board.
func gotNothing(requests []Request) bool {
	return !slices.ContainsFunc(requests, func(req Request) bool { return !req.absent() })
}

// judgeResult is about the end of a single request.
func judgeResult(b Board, req Request) (Problem, bool) {
	switch {
	case req.Result == Timeout:
		return late(b, req), true
	case req.Result == Short || req.Result == Refused:
		return incomplete(b, req), true
	case req.Result == Missing && req.Required:
		return missing(req), true
	case req.Result == Found && req.Kind == ExpectMissing:
		return unexpected(b, req)
	}
	return Problem{}, false
}

func missing(req Request) Problem {
	p := Problem{Error, req.Path + " is missing", "add " + req.Name + " to the image, or let the server give this board one"}
	if !req.absent() {
		p.What += fmt.Sprintf(": error %d %s", req.ErrorCode, req.ErrorText)
		p.Hint = "see the server's log"
	}
	return p
}

// absent says whether the server has told that there is no such file, and not that it
// cannot say. Some servers give every error the code of a missing file.
func (r *Request) absent() bool {
	if r.Result != Missing || r.ErrorCode != codeNotFound {
		return false
	}
	text := strings.ToLower(r.ErrorText)
	return text == "" || slices.ContainsFunc([]string{"not found", "no such", "not exist"}, func(known string) bool {
		return strings.Contains(text, known)
	})
}

func late(b Board, req Request) Problem {
	if req.Bytes > 0 {
		return Problem{Error, fmt.Sprintf("%s took longer than %s: %d bytes came", req.Path, b.FileTimeout, req.Bytes),
			"serve faster, make the file smaller, or raise TFTP_FILE_TIMEOUT in the bootloader's settings"}
	}
	sev := Error
	if req.Kind == ExpectMissing {
		sev = Warning // costs time only
	}
	return Problem{sev, fmt.Sprintf("no answer for %s within %s", req.Path, b.FileTimeout),
		"check address, port and firewall; a server answers ERROR 1 at once for a file that it does not have"}
}

func incomplete(b Board, req Request) Problem {
	switch {
	case req.has(TooManyBlocks):
		return Problem{Error, fmt.Sprintf("%s has more than 65535 blocks of %d bytes", req.Path, req.Blksize),
			fmt.Sprintf("compress the file, or update the bootloader of %s to %s or later", b.EEPROMDate.or(newestEEPROMDate), eepromRollsOver)}
	case req.has(BadBlksize):
		return Problem{Error, req.Path + " came in larger blocks than the board asked for",
			"a server may only lower the block size (RFC 2348)"}
	case req.has(WrongTsize):
		return Problem{Error, fmt.Sprintf("%s has %d bytes, but its tsize said %d", req.Path, req.Bytes, req.Tsize),
			"send the true size; a file must not change while it is served"}
	}
	return Problem{Error, fmt.Sprintf("%s broke off after %d bytes: error %d %s", req.Path, req.Bytes, req.ErrorCode, req.ErrorText),
		"see the server's log"}
}

// unexpected is about leftovers of another image. The bootloader flashes an update and
// starts a recovery program instead of the firmware.
func unexpected(b Board, req Request) (Problem, bool) {
	const hint = "remove it from what this board is served"
	base := path.Base(req.Name)
	switch {
	case strings.HasPrefix(base, "pieeprom.") || strings.HasPrefix(base, "vl805."):
		if b.SelfUpdate {
			return Problem{}, false
		}
		return Problem{Error, req.Path + " exists: the board would flash its bootloader at every boot", hint}, true
	case strings.HasPrefix(base, "recover"):
		return Problem{Error, req.Path + " exists: the board would start the recovery program instead", hint}, true
	}
	return Problem{Warning, req.Path + " exists and changes how the board starts", hint}, true
}

// violationText says what a violation means; %s is the file or files.
func violationText(v Violation) (Problem, bool) {
	switch v {
	case NoOACK:
		return Problem{Error, "no option acknowledgement for %s: a board takes such a config.txt as empty",
			"use a TFTP server that supports the options tsize and blksize (RFC 2347)"}, true
	case NoTsize:
		return Problem{Error, "no tsize for %s", "acknowledge tsize with the size of the file (RFC 2349)"}, true
	case ZeroTsize:
		return Problem{Error, "tsize 0 for %s", "acknowledge tsize with the size of the file, not with what was asked"}, true
	case NoBlksize:
		return Problem{Warning, "blksize not acknowledged for %s: blocks of 512 bytes are slow and end at 33553920 bytes",
			"acknowledge blksize (RFC 2348)"}, true
	case BadOption:
		return Problem{Warning, "an option that was not asked for came with %s", "acknowledge only what was asked for (RFC 2347)"}, true
	case Malformed:
		return Problem{Warning, "a malformed packet came with %s", "look at the traffic; something that is no TFTP server answers"}, true
	}
	return Problem{}, false // part of the result of its request
}

// judgeViolations tells each kind of violation once.
func judgeViolations(requests []Request) []Problem {
	names := map[Violation][]string{}
	var order []Violation
	for _, req := range requests {
		for _, v := range req.Violations {
			if names[v] == nil {
				order = append(order, v)
			}
			names[v] = append(names[v], req.Name)
		}
	}
	var ps []Problem
	for _, v := range order {
		if p, ok := violationText(v); ok {
			p.What = fmt.Sprintf(p.What, some(names[v]))
			ps = append(ps, p)
		}
	}
	return ps
}

func some(names []string) string {
	names = slices.Compact(names)
	if len(names) == 1 {
		return names[0]
	}
	return fmt.Sprintf("%s and %d more", names[0], len(names)-1)
}

// judgeChanges finds answers that changed within one boot: config.txt is read four times,
// and a switch of the image between two readings mixes two images on the board.
func judgeChanges(requests []Request) []Problem {
	const hint = "keep one image for a board from its first request to the kernel's last byte"
	first, told := map[string]Request{}, map[string]bool{}
	var ps []Problem
	for _, req := range requests {
		if req.Result != Found && req.Result != Missing {
			continue
		}
		before, ok := first[req.Path]
		if !ok || before.Digest.IsZero() && before.Result == req.Result {
			first[req.Path] = req
		}
		if what := change(before, req); ok && what != "" && !told[req.Path] {
			told[req.Path] = true
			ps = append(ps, Problem{Error, req.Path + " " + what, hint})
		}
	}
	return ps
}

func change(a, b Request) string {
	switch {
	case a.Result == Found && b.Result == Missing:
		return "was there and then was missing within one boot"
	case a.Result == Missing && b.Result == Found:
		return "was missing and then was there within one boot"
	case !a.Digest.IsZero() && !b.Digest.IsZero() && a.Digest != b.Digest:
		return "changed within one boot: the board mixes two images"
	}
	return ""
}

// judgeNetwork is about packets that were lost, doubled or came from elsewhere.
func judgeNetwork(requests []Request) []Problem {
	var resends, duplicates, strays int
	for _, req := range requests {
		if req.Result != Timeout {
			resends += req.Resends
		}
		duplicates += req.Duplicates
		strays += req.Strays
	}
	var ps []Problem
	add := func(n int, what, hint string) {
		if n > 0 {
			ps = append(ps, Problem{Warning, fmt.Sprintf(what, n), hint})
		}
	}
	add(resends, "the board had to send again, packets: %d", "packets were lost, or the server is slow to answer")
	add(duplicates, "packets that came twice: %d", "the server sends again before the board's answer can be there")
	add(strays, "packets from a port that does not belong to the transfer: %d", "the server has to send a file from one port")
	return ps
}

// checkPair warns where start and fixup are not of one variant, such as start4x.elf with
// fixup4.dat: the board then has 128 MB of memory or does not start (bootloader
// documentation, and an engineer of the vendor).
func (s *session) checkPair(start, fixup string) {
	a, okA := variant(start, "start", ".elf")
	b, okB := variant(fixup, "fixup", ".dat")
	if okA && okB && a != b {
		s.fail(start+" and "+fixup+" do not belong together", "set start_file and fixup_file to a pair of one release")
	}
}

func variant(name, stem, ext string) (string, bool) {
	v, ok := strings.CutPrefix(path.Base(name), stem)
	if !ok {
		return "", false
	}
	return strings.CutSuffix(v, ext)
}

// worstFirst orders problems for people.
func worstFirst(a, b Problem) int { return cmp.Compare(rank(a.Severity), rank(b.Severity)) }

func rank(s Severity) int {
	if s == Error {
		return 0
	}
	return 1
}

// ofOne is what differs in the problems of boards that have the same one: how often, and how
// far they came.
var ofOne = regexp.MustCompile(`: [0-9]+( bytes came)?$| after [0-9]+ bytes`)

// general is a problem's text without what is only this board's: its folder, how often, and
// how far it came.
func general(what string, r *Report) string {
	if r.Prefix != "" {
		what = strings.ReplaceAll(what, r.Prefix, "BOARD/")
	}
	return ofOne.ReplaceAllString(what, "")
}
