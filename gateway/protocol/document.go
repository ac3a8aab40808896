// SPDX-License-Identifier: Apache-2.0

package protocol

// EncodeApps is the encoding of a list of apps: what a document of it holds, and what Hello's digest of it is of.
func EncodeApps(apps []App) ([]byte, error) {
	if err := validateApps(apps); err != nil {
		return nil, err
	}
	return marshalSet(apps, nil)
}

// DecodeApps reads what a document of apps holds.
func DecodeApps(b []byte) ([]App, error) {
	var apps []App
	if err := decodeDocument(b, MaxAppsDocument, appsShape, &apps); err != nil {
		return nil, err
	}
	return apps, validateApps(apps)
}

// EncodeStates is the encoding of a list of states: what a document of it holds.
func EncodeStates(states []State) ([]byte, error) {
	if err := validateStates(states); err != nil {
		return nil, err
	}
	return marshalSet(states, nil)
}

// DecodeStates reads what a document of states holds.
func DecodeStates(b []byte) ([]State, error) {
	var states []State
	if err := decodeDocument(b, MaxStatesDocument, statesShape, &states); err != nil {
		return nil, err
	}
	return states, validateStates(states)
}

func decodeDocument(b []byte, limit int, s *shape, v any) error {
	if len(b) > limit {
		return invalid("a document has %d bytes, more than %d", len(b), limit)
	}
	// A document's list stands where it would stand in a frame, so that both nest equally deep.
	if err := checkItem(b, s, 3); err != nil {
		return err
	}
	return unmarshal(b, v)
}
