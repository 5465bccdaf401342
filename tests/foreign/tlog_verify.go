// SPDX-License-Identifier: Apache-2.0

// A verifier of the access log that is not ours: the Go project's note and tlog
// packages (Debian's golang-golang-x-mod-dev) do all of the checking, this file
// only reads files.  It shares no code with homeward.
//
//	tlog_verify DIRECTORY VERIFIER-KEY
//
// Ends with "ok ORIGIN SIZE", or with "FAIL …" and exit code 1.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

func fail(what ...interface{}) {
	fmt.Println(append([]interface{}{"FAIL"}, what...)...)
	os.Exit(1)
}

func check(err error, what ...interface{}) {
	if err != nil {
		fail(append(what, err)...)
	}
}

// tiles reads the log's files; the packages check what is in them.
type tiles struct{ directory string }

func (t tiles) Height() int { return height }

func (t tiles) SaveTiles([]tlog.Tile, [][]byte) {}

func (t tiles) ReadTiles(wanted []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range wanted {
		name := strings.Replace(tile.Path(), "tile/8/", "tile/", 1)
		data, err := os.ReadFile(filepath.Join(t.directory, name))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func openCheckpoint(directory, key string) (string, tlog.Tree) {
	verifier, err := note.NewVerifier(key)
	check(err, "key")
	data, err := os.ReadFile(filepath.Join(directory, "checkpoint"))
	check(err)
	signed, err := note.Open(data, note.VerifierList(verifier))
	check(err, "checkpoint")
	lines := strings.Split(signed.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != verifier.Name() {
		fail("checkpoint: not an origin, a size and a root")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	check(err, "checkpoint")
	root, err := base64.StdEncoding.DecodeString(lines[2])
	check(err, "checkpoint")
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	return lines[0], tree
}

// entries returns the bundle's entries from number 256*index on.
func entries(directory string, index, size int64) [][]byte {
	tile := tlog.Tile{H: height, N: index, W: 256}
	if size-index*256 < 256 {
		tile.W = int(size - index*256)
	}
	name := strings.Replace(tile.Path(), "tile/8/0/", "tile/entries/", 1)
	data, err := os.ReadFile(filepath.Join(directory, name))
	check(err)
	var all [][]byte
	for len(data) > 0 {
		if len(data) < 2 || len(data)-2 < int(binary.BigEndian.Uint16(data)) {
			fail(name, "ends within an entry")
		}
		length := int(binary.BigEndian.Uint16(data))
		all = append(all, data[2:2+length])
		data = data[2+length:]
	}
	if len(all) != tile.W {
		fail(name, "has", len(all), "entries")
	}
	return all
}

func main() {
	if len(os.Args) != 3 {
		fail("usage: tlog_verify DIRECTORY VERIFIER-KEY")
	}
	directory := os.Args[1]
	origin, tree := openCheckpoint(directory, os.Args[2])
	hashes := tlog.TileHashReader(tree, tiles{directory})
	for index := int64(0); index*256 < tree.N; index++ {
		bundle := entries(directory, index, tree.N)
		var wanted []int64
		for i := range bundle {
			wanted = append(wanted, tlog.StoredHashIndex(0, index*256+int64(i)))
		}
		leaves, err := hashes.ReadHashes(wanted)
		check(err)
		for i, entry := range bundle {
			if leaves[i] != tlog.RecordHash(entry) {
				fail("entry", index*256+int64(i), "is not the one that was logged")
			}
		}
	}
	// Proofs as others would make and check them: of one entry, and that the log's first half is its beginning.
	if tree.N > 1 {
		number := tree.N / 3
		proof, err := tlog.ProveRecord(tree.N, number, hashes)
		check(err)
		bundle := entries(directory, number/256, tree.N)
		check(tlog.CheckRecord(proof, tree.N, tree.Hash, number, tlog.RecordHash(bundle[number%256])))
		half, err := tlog.TreeHash(tree.N/2, hashes)
		check(err)
		growth, err := tlog.ProveTree(tree.N, tree.N/2, hashes)
		check(err)
		check(tlog.CheckTree(growth, tree.N, tree.Hash, tree.N/2, half))
	}
	fmt.Println("ok", origin, tree.N)
}
