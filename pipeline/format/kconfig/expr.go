package kconfig

import (
	"regexp"
	"strings"
)

// unmet are the terms of conditions that do not hold in c: each condition is cut at && as
// far as no parenthesis forbids it.
func unmet(conditions []string, c Config) []string {
	var all []string
	for _, condition := range conditions {
		for _, term := range conjuncts(condition) {
			if !holds(term, c) {
				all = append(all, term)
			}
		}
	}
	return all
}

func conjuncts(s string) []string {
	depth, from := 0, 0
	var terms []string
	for i := range s {
		switch {
		case s[i] == '(':
			depth++
		case s[i] == ')':
			depth--
		case depth == 0 && strings.HasPrefix(s[i:], "||"):
			return []string{strings.TrimSpace(s)} // && binds closer: this is one alternative after another
		case depth == 0 && i >= from && strings.HasPrefix(s[i:], "&&"):
			terms = append(terms, strings.TrimSpace(s[from:i]))
			from = i + 2
		}
	}
	return append(terms, strings.TrimSpace(s[from:]))
}

var token = regexp.MustCompile(`\s*(&&|\|\||!=|=|!|\(|\)|"[^"]*"|[^\s&|!=()"]+)`)

// holds evaluates a condition. What it cannot read holds: it is no reason then.
func holds(s string, c Config) bool {
	e := &expression{config: c}
	for _, m := range token.FindAllStringSubmatch(s, -1) {
		e.tokens = append(e.tokens, m[1])
	}
	value := e.or()
	return value || e.bad || len(e.tokens) > 0
}

// expression is a condition of which tokens are left.
type expression struct {
	tokens []string
	config Config
	bad    bool
}

func (e *expression) next(want string) bool {
	if len(e.tokens) == 0 || e.tokens[0] != want {
		return false
	}
	e.tokens = e.tokens[1:]
	return true
}

func (e *expression) or() bool {
	value := e.and()
	for e.next("||") {
		right := e.and()
		value = value || right
	}
	return value
}

func (e *expression) and() bool {
	value := e.not()
	for e.next("&&") {
		right := e.not()
		value = value && right
	}
	return value
}

func (e *expression) not() bool {
	switch {
	case e.next("!"):
		return !e.not()
	case e.next("("):
		value := e.or()
		e.bad = !e.next(")") || e.bad
		return value
	}
	left := e.operand()
	switch {
	case e.next("="):
		return left == e.operand()
	case e.next("!="):
		return left != e.operand()
	}
	return left == "y" || left == "m"
}

// operand is the value of a symbol or a constant, without quotes.
func (e *expression) operand() string {
	if len(e.tokens) == 0 {
		e.bad = true
		return ""
	}
	word := e.tokens[0]
	e.tokens = e.tokens[1:]
	if v, ok := e.config[word]; ok {
		word = v
	} else if strings.ToUpper(word) == word && strings.Contains(word, "_") {
		return "" // a symbol that has no value
	} else if word != "y" && word != "m" && word[0] != '"' {
		return word
	}
	return strings.Trim(word, `"`)
}
