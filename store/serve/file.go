package serve

import (
	"io"
	"os"
	"sync"

	"piimg/store"
)

// Result says how a transfer ended.
type Result string

const (
	OK      Result = "ok"      // the client has the file to its last byte
	Missing Result = "missing" // there is no such file
	Probe   Result = "probe"   // the client saw that the file is there, and wanted no more
	Aborted Result = "aborted" // the client gave up or went silent
	Failed  Result = "error"   // the front end failed
)

// File is an open file of an image. Reading, seeking and closing are for one goroutine,
// ReadAt for any number.
type File struct {
	*io.SectionReader

	Name      string // path in the image
	Size      int64  // bytes
	Digest    store.Digest
	Immutable bool         // the requested name holds these bytes for ever
	Board     string       // "" where no board asked
	Image     store.Digest // that the file belongs to, zero for content that was asked for by its own digest

	front   *Front
	request Event // begun at Open
	img     *image
	station *station
	session *session
	body    body
	done    sync.Once
}

// body is the bytes of a file.
type body interface {
	io.ReaderAt
	io.Closer

	// memory is the bytes in order, and nil where they are not in memory.
	memory() [][]byte
	// pieces is where the bytes lie.
	pieces() []Piece
	// check says whether the bytes are still those that were hashed.
	check() error
}

func newFile(f *Front, r Request, img *image, entry store.File, body body) *File {
	file := &File{
		SectionReader: io.NewSectionReader(body, 0, entry.Size),
		Name:          entry.Path,
		Size:          entry.Size,
		Digest:        entry.Digest,
		front:         f,
		request:       Event{Time: f.cfg.Now(), Name: entry.Path, Protocol: r.Protocol, Client: r.Client, Size: entry.Size, Plain: r.Plain, Rooted: r.rooted},
		img:           img,
		body:          body,
	}
	if img != nil {
		file.Image = img.Digest
	}
	return file
}

// Done says how the transfer ended and how many bytes the client has taken. Only the
// first call counts.
func (f *File) Done(result Result, bytes int64) {
	f.done.Do(func() {
		e := f.request
		e.Result, e.Bytes = result, bytes
		e.Duration = f.front.cfg.Now().Sub(e.Time)
		f.front.finish(f.station, f.session, f.img, e)
	})
}

// Memory is the file's bytes, piece by piece in order, until Close, and nil where they are
// not in memory. The memory is that of the cached files, for system calls that send it: a
// process that reads it itself faults where somebody cuts such a file short, and a system
// call ends with EFAULT. What came out of it is the file's bytes if Check is nil afterwards.
func (f *File) Memory() [][]byte { return f.body.memory() }

// Piece is some bytes of a file: Size of them from the start of File, or those in Bytes.
type Piece struct {
	File  *os.File // shared with others: it is read at offsets only, and not closed
	Bytes []byte
	Size  int64
}

// Pieces is where the file's bytes lie, in order, until Close: for system calls that send
// them from there.
func (f *File) Pieces() []Piece { return f.body.pieces() }

// Check says whether the cached bytes are still those that were hashed. Its error wraps
// store.ErrCorrupt.
func (f *File) Check() error { return f.body.check() }

// Close releases the file. A transfer that nobody has called done was aborted.
func (f *File) Close() error {
	f.Done(Aborted, 0)
	return f.body.Close()
}
